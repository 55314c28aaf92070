"""From the JSON shape of an example to hashed features: the slow and obvious path.

    example  {"features": {name: value, ...}, "label": 0 or 1, "weight": number, "id": text}
    value    string         categorical: (name hash, hash of the value under the name, 1)
             number         (name hash, name hash, the number)
             true           (name hash, name hash, 1)
             false, null    nothing
             list           each of its items, none of them a list

This is the rule book: one Python object at a time, each rule where it can be read. The fast path
(`json_scan`) does the same from raw bytes and sends here whatever it is not sure of, so that every
refusal is worded and placed in this file alone; tests hold the two to the same bits and errors. The
alternative, two complete implementations with errors each, was refused: they would drift apart.

Numbers become float32. A magnitude below TINY becomes zero, so that no denormal and no negative
zero ever reaches the log. Order and duplicates are settled by `batch.canonicalise`: a name that
comes twice in one example contributes twice, also if it comes twice in one JSON object.

Where something stands in the body is a `Place`: the example's row and an RFC 6901 pointer. The
pointer names keys (that is its use), a detail never repeats the input. A key that is too long or
not text is left out of the pointer, which then names the object around it.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np

from ftrl_core.batch import NO_LABEL, ExampleBatch, canonicalise
from ftrl_core.errors import BadExample, TooLarge
from ftrl_core.hashing import event_id_hash, murmur3_32
from ftrl_core.limits import Limits

TINY = 1e-30  # smaller magnitudes are zero: far below any useful value, far above a denormal

_KEYS = frozenset({"features", "label", "weight", "id"})
_POINTER_KEY_CHARS = 256
_INTEGER_ID_MIN, _INTEGER_ID_MAX = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a body something stands: the example's index (or None) and an RFC 6901 pointer."""

    row: int | None
    pointer: str

    def within(self, key: str | int) -> Place:
        """The place of the member `key` of the object or list at this place."""
        text = str(key)
        if len(text) > _POINTER_KEY_CHARS or (not text.isascii() and _surrogates_in(text)):
            return self
        return Place(self.row, f"{self.pointer}/{text.replace('~', '~0').replace('/', '~1')}")

    def wrong(self, detail: str) -> BadExample:
        """The error that what stands here breaks a rule."""
        return BadExample(detail, self.row, self.pointer)

    def too_large(self, detail: str) -> TooLarge:
        """The error that what stands here exceeds a limit."""
        return TooLarge(detail, self.row, self.pointer)


@dataclass(frozen=True, slots=True)
class ObjectPairs:
    """A JSON object as it was written: pairs in order, a name that comes twice is here twice."""

    pairs: Sequence[tuple[str, object]]

    def items(self) -> Sequence[tuple[str, object]]:
        """The pairs, as a mapping would give them."""
        return self.pairs


@dataclass(slots=True)
class Triples:
    """Hashed features as three parallel lists, in the order they came."""

    names: list[int] = field(default_factory=list)
    hashes: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, name: int, feature: int, value: float) -> None:
        """Append one feature."""
        self.names.append(name)
        self.hashes.append(feature)
        self.values.append(value)

    def extend(self, other: Triples) -> None:
        """Append the features of `other`."""
        self.names += other.names
        self.hashes += other.hashes
        self.values += other.values

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, slots=True)
class Example:
    """What one example says beside its features; `event_id` is 0 where it has none."""

    label: int
    weight: float
    event_id: int


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads examples under one model's hash seed and one set of limits."""

    hash_seed: int
    require_labels: bool
    limits: Limits

    def example(self, value: object, place: Place, shared: int = 0) -> tuple[Example, Triples]:
        """One whole example; `shared` features count towards its limit. Raises as said above."""
        fields = _members(value, place, "an example")
        for key in fields:
            if key not in _KEYS:
                raise place.within(key).wrong(
                    "unknown key: an example has features, label, weight and id"
                )
        example = Example(
            self._label(fields, place), self._weight(fields, place), self._event_id(fields, place)
        )
        inside = place.within("features")
        if "features" not in fields:
            raise inside.wrong("features are missing; {} is an example with only the bias")
        return example, self.features(fields["features"], inside, shared)

    def features(self, value: object, place: Place, shared: int = 0) -> Triples:
        """The features of one object of names and values."""
        if not isinstance(value, Mapping | ObjectPairs):
            raise place.wrong("features must be an object of names and values")
        triples = Triples()
        for name, item in value.items():
            if not isinstance(name, str):
                raise place.wrong("the name of a feature must be a string")
            inside = place.within(name)
            data = _utf8(name, self.limits.name_bytes, inside, "the name of a feature")
            name_hash = murmur3_32(data, self.hash_seed)
            self._add(triples, name_hash, item, inside)
            if len(triples) + shared > self.limits.features:
                raise place.too_large(
                    f"an example has at most {self.limits.features} features, shared ones included"
                )
        return triples

    def _add(self, triples: Triples, name: int, value: object, place: Place) -> None:
        """Add what one name contributes."""
        if not isinstance(value, list | tuple):
            self._add_item(triples, name, value, place)
            return
        for index, item in enumerate(value):
            if isinstance(item, list | tuple):
                raise place.within(index).wrong("a list inside a list is not a value")
            self._add_item(triples, name, item, place.within(index))
            if len(triples) > self.limits.features:
                return  # the caller refuses it; a longer list costs nothing more

    def _add_item(self, triples: Triples, name: int, value: object, place: Place) -> None:
        if value is None:
            return
        if isinstance(value, str):
            data = _utf8(value, self.limits.value_bytes, place, "a value")
            triples.add(name, murmur3_32(data, name), 1.0)
        elif isinstance(value, bool | np.bool_):
            if value:
                triples.add(name, name, 1.0)
        elif isinstance(value, Real):
            triples.add(name, name, self._number(value, place))
        else:
            raise place.wrong("a value is a string, a number, true, false, null or a list of these")

    def _number(self, value: Real, place: Place) -> float:
        number = _float(value)
        if not abs(number) <= self.limits.abs_value:  # also refuses NaN
            raise place.wrong(
                f"a number must be finite and at most {self.limits.abs_value:g} in magnitude"
            )
        return 0.0 if abs(number) < TINY else number

    def _label(self, fields: Mapping[str, object], place: Place) -> int:
        if not self.require_labels:
            return NO_LABEL
        value = fields.get("label")
        number = math.nan
        if isinstance(value, Real) and not isinstance(value, bool):
            number = _float(value)
        if number not in (0, 1):
            raise place.within("label").wrong("label must be the number 0 or 1")
        return int(number)

    def _weight(self, fields: Mapping[str, object], place: Place) -> float:
        value = fields.get("weight", 1.0)
        number = math.nan
        if isinstance(value, Real) and not isinstance(value, bool):
            number = _float(value)
        if not 0 <= number <= self.limits.weight:
            raise place.within("weight").wrong(
                f"weight must be a number from 0 to {self.limits.weight:g}"
            )
        return 0.0 if number < TINY else number

    def _event_id(self, fields: Mapping[str, object], place: Place) -> int:
        if "id" not in fields:
            return 0
        return event_id_hash(self._id_text(fields["id"], place.within("id")), self.hash_seed)

    def _id_text(self, value: object, place: Place) -> str:
        if isinstance(value, Integral) and not isinstance(value, bool):
            if _INTEGER_ID_MIN <= int(value) <= _INTEGER_ID_MAX:
                return str(int(value))
            raise place.wrong("an integer id must fit 64 bits")
        if not isinstance(value, str) or not 1 <= len(value) <= self.limits.id_chars:
            raise place.wrong(
                f"id must be a string of 1 to {self.limits.id_chars} characters or an integer"
            )
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
            raise place.wrong("id must not hold control characters or lone surrogates")
        return value


def _float(value: Real) -> float:
    """The number as float; infinite where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _surrogates_in(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _utf8(text: str, limit: int, place: Place, what: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise place.wrong(f"{what} holds a lone surrogate") from None
    if len(data) > limit:
        raise place.wrong(f"{what} is longer than {limit} bytes")
    return data


def _members(value: object, place: Place, what: str) -> dict[str, object]:
    """The members of a JSON object; of a key that comes twice the last."""
    if not isinstance(value, Mapping | ObjectPairs):
        raise place.wrong(f"{what} must be an object")
    return dict(value.items())


def placed_to_batch(
    placed: Iterable[tuple[Place, object]], reader: Reader, shared: Triples
) -> ExampleBatch:
    """A batch of the examples, each with its place; `shared` is merged into every one."""
    offsets = [0]
    all_features = Triples()
    said: list[Example] = []
    for place, value in placed:
        example, triples = reader.example(value, place, len(shared))
        said.append(example)
        all_features.extend(shared)
        all_features.extend(triples)
        offsets.append(len(all_features))
    canonical = canonicalise(
        np.array(offsets, np.int64),
        np.array(all_features.names, np.uint32),
        np.array(all_features.hashes, np.uint32),
        np.array(all_features.values, np.float32),
    )
    return ExampleBatch(
        *canonical,
        labels=np.array([example.label for example in said], np.uint8),
        weights=np.array([example.weight for example in said], np.float32),
        event_ids=np.array([example.event_id for example in said], np.uint64),
    )


def examples_to_batch(
    examples: Sequence[Mapping[str, object]],
    shared: Mapping[str, object] | None = None,
    hash_seed: int = 0,
    require_labels: bool = True,
    limits: Limits | None = None,
) -> ExampleBatch:
    """A canonical batch from examples in the JSON shape, `shared` features merged into each.

    Without `require_labels` a label is ignored, whatever it is, and the batch has NO_LABEL.
    Only the limits of one example are looked at: those of a request are the shell's.
    Raises BadExample or TooLarge for the first example that breaks a rule.
    """
    reader = Reader(hash_seed, require_labels, limits or Limits())
    common = Triples()
    if shared is not None:
        common = reader.features(shared, Place(None, "/shared"))
    placed = ((Place(row, f"/examples/{row}"), value) for row, value in enumerate(examples))
    return placed_to_batch(placed, reader, common)
