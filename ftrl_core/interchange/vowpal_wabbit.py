"""Vowpal Wabbit's text models: --invert_hash (with names) and --readable_model (without).

    Version 9.11.9                      header, up to the line :0 or :1
    ...
    bits:18
    options: --ftrl --link logistic
    Checksum: 3558705490
    :1                                  1: the learner's state is there too; its own lines follow
    ...
    l1_state 0                          --l1 of the default learner: what w still has to be cut by
    l2_state 1                          and --l2: what is left of it
    site^a:36095:0.377 -16.8 11.8       namespace^feature:index:w state; without namespace^ in the
    Constant:116060:-0.0258 2.41 68.7   default one; a readable model begins at the index

The state behind w is z and n with --ftrl, and begins with the sum of squared gradients for the
adaptive learners, so both tell how sure w is. Other learners' is not used.

A readable model has indices alone; each is found again by hashing the names that the user knows.
VW's hash (`--hash strings`): a feature is MurmurHash3 seeded with its namespace's hash, but a
text of digits is that number plus the namespace's hash. A namespace is hashed alike with
--hash_seed; `--hash all` has no exception for digits. The constant's index is always 11650396.

What the options of a model say besides is refused, unless it is known to leave a linear model as it
is: with interactions a name like a^x*b^y would pass as a feature. The loss is not in the file: a
model is a logistic one only if it was trained with --loss_function logistic.

Names. `namespace` takes the namespace for the name and the feature for its value, as text/x-vw
does; a feature of the default namespace is spelled as everywhere (a=b a category, else a number).
`feature` drops the namespace and spells every feature so: `|num price:3.5` is then a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ftrl_core import arguments
from ftrl_core.errors import BadWeights
from ftrl_core.hashing import murmur3_32
from ftrl_core.interchange.weights import (
    Feature,
    LinearWeights,
    column,
    feature_of,
    number_of,
    numbered_lines,
    plain,
    shown,
    text_of,
)

CONSTANT = 11650396
CONSTANT_NAME = "Constant"
NAMES_AS = ("namespace", "feature")
_BITS_MAX = 61
_HARMLESS = frozenset({
    "--link", "--ftrl", "--coin", "--pistol", "--sgd", "--adaptive", "--invariant", "--normalized",
    "--hash", "--hash_seed", "--noconstant",
})  # fmt: skip
_WITH_VALUE = frozenset({"--link", "--hash", "--hash_seed"})
_ENTRY = re.compile(r"(?:(.*):)?(\d{1,19}):([-+0-9.einfa ]+)")


@dataclass(slots=True)
class _Header:
    bits: int = 0
    options: dict[str, str] = field(default_factory=dict)
    gravity: float = 0.0
    contraction: float = 1.0

    @property
    def hash_seed(self) -> int:
        return int(self.options.get("--hash_seed", "0"))

    @property
    def hash_all(self) -> bool:
        return self.options.get("--hash") == "all"

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1

    def place_of_n(self, cells: int) -> int | None:
        """Which number of an entry is the sum of squared gradients, None where none is."""
        o = self.options
        if "--ftrl" in o:
            return 2 if cells >= 3 else None
        named = {"--sgd", "--adaptive", "--invariant", "--normalized", "--coin", "--pistol"} & set(
            o
        )
        return 1 if cells >= 2 and (not named or "--adaptive" in named) else None


@dataclass(slots=True)
class _Entries:
    """Entries of the file in order; names are empty texts in a readable model."""

    names: list[str] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    w: list[float] = field(default_factory=list)
    n: list[float] = field(default_factory=list)


def vw_hash(text: str, seed: int, hash_all: bool = False) -> int:
    """VW's 32-bit hash of a namespace or feature."""
    if text.isascii() and (text.isdigit() or not text) and not hash_all:
        return (int(text or "0") + seed) & 0xFFFFFFFF
    return murmur3_32(text.encode(), seed)


def vw_index(name: str, bits: int = 18, hash_seed: int = 0, hash_all: bool = False) -> int:
    """The index of a feature `namespace^feature`, or `feature` of the default namespace."""
    namespace, caret, feature = name.partition("^")
    if not caret:
        default = murmur3_32(b"", hash_seed) if hash_seed else 0
        return vw_hash(name, default, hash_all) & ((1 << bits) - 1)
    return vw_hash(feature, vw_hash(namespace, hash_seed, hash_all), hash_all) & ((1 << bits) - 1)


def read_vw(
    lines: Iterable[bytes],
    names: Sequence[str] | None = None,
    names_as: str = "namespace",
    allow_unnamed: bool = False,
) -> LinearWeights:
    """The model of these lines. A readable model wants `names` (namespace^feature); those it has no
    weight for are left out.

    Raises BadWeights, with the line where there is one: an option that makes a model other than
    linear, a bad number, a feature that comes twice, a weight that no name explains (unless
    allow_unnamed).
    """
    arguments.choice("names_as", names_as, NAMES_AS)
    numbered = numbered_lines(lines)
    header = _read_header(numbered)
    entries = _read_entries(numbered, header)
    constant = _take_constant(entries, header)
    notes: list[str] = []
    if any(not name for name in entries.names):
        if names is None:
            raise BadWeights("the model has indices without names: a list of names is needed")
        entries, unnamed = _named(entries, names, header)
        if unnamed and not allow_unnamed:
            raise BadWeights(
                f"{unnamed} weights have an index that none of the {len(names)} names has"
            )
        notes.append(f"{unnamed} weights without a name were left out")
    features = [_feature(name, names_as) for name in entries.names]
    has_n = len(entries.n) == len(features) and (bool(features) or len(constant) > 1)
    notes.append("n is the file's" if has_n else "the file has no n")
    return LinearWeights(
        features,
        column(entries.w),
        column(entries.n) if has_n else None,
        bias=constant[0],
        bias_n=constant[1] if has_n and len(constant) > 1 else None,
        notes=tuple(notes),
    )


def _read_header(lines: Iterator[tuple[int, str]]) -> _Header:
    """The header, up to and with the line :0 or :1."""
    header = _Header()
    for number, line in lines:
        name, _, value = line.partition(":")
        value = value.strip()
        if number == 1 and name.partition(" ")[0] != "Version":
            raise BadWeights("line 1: a model of Vowpal Wabbit begins with its Version")
        if name == "bits":
            header.bits = int(value) if value.isdecimal() and len(value) < 3 else 0
        elif name == "options":
            header.options = _options(value, number)
        elif (name == "lda" and value != "0") or (name.endswith((" ngram", " skip")) and value):
            raise BadWeights(f"line {number}: a model with {name} is not linear in its features")
        elif not name:
            if not 1 <= header.bits <= _BITS_MAX:
                raise BadWeights(f"line {number}: the header has no usable bits")
            return header
    raise BadWeights("the header has no end: a line :0 or :1 is expected")


def _options(text: str, line: int) -> dict[str, str]:
    found: dict[str, str] = {}
    words = iter(text.split())
    for word in words:
        name, equals, value = word.partition("=")
        if name not in _HARMLESS:
            raise BadWeights(
                f"line {line}: option {name!r} makes a model that is not known to be linear"
            )
        found[name] = value if equals else next(words, "") if name in _WITH_VALUE else ""
    seed = found.get("--hash_seed", "0")
    if not (seed.isdecimal() and int(seed) < 1 << 32):
        raise BadWeights(f"line {line}: --hash_seed is not a number below 2^32")
    return found


def _read_entries(lines: Iterator[tuple[int, str]], header: _Header) -> _Entries:
    entries = _Entries()
    for number, line in lines:
        match = _ENTRY.fullmatch(line)
        if match is None:
            if entries.indices:
                raise BadWeights(f"line {number}: no entry name:index:weight")
            _read_state(line, number, header)
            continue
        cells = [number_of(cell, number) for cell in match[3].split()]
        if not cells or int(match[2]) > header.mask:
            raise BadWeights(f"line {number}: no weight, or an index beyond the {header.bits} bits")
        place = header.place_of_n(len(cells))
        entries.names.append(match[1] or "")
        entries.indices.append(int(match[2]))
        entries.w.append(_cut(cells[0], header))
        if place is not None:
            entries.n.append(cells[place])
    if len(entries.n) != len(entries.w):
        entries.n.clear()
    return entries


def _read_state(line: str, number: int, header: _Header) -> None:
    """A line of the learner's own state, before the first entry."""
    name, _, value = line.rpartition(" ")
    if name == "l1_state":
        header.gravity = number_of(value, number)
    elif name == "l2_state":
        header.contraction = number_of(value, number)


def _cut(w: float, header: _Header) -> float:
    """The weight that predicts: truncated and shrunk by what --l1 and --l2 still owe."""
    size = max(abs(w) - header.gravity, 0.0) * header.contraction
    return size if w >= 0.0 else 0.0 - size


def _take_constant(entries: _Entries, header: _Header) -> tuple[float, ...]:
    """(w,) or (w, n) of the constant, (0,) where there is none; an entry of its name is taken out.

    In a readable model it stays, since a feature may have the constant's index too.
    """
    if "--noconstant" in header.options:
        return (0.0,)
    index = CONSTANT & header.mask
    for at, (name, found) in enumerate(zip(entries.names, entries.indices, strict=True)):
        if found != index or name not in ("", CONSTANT_NAME):
            continue
        constant = (entries.w[at], *entries.n[at : at + 1])
        if name:
            for kept in (entries.names, entries.indices, entries.w, entries.n):
                del kept[at : at + 1]
        return constant
    return (0.0,)


def _named(entries: _Entries, names: Sequence[str], header: _Header) -> tuple[_Entries, int]:
    """The entries that a name leads to, under that name, and how many no name leads to."""
    at_index = {index: at for at, index in enumerate(entries.indices)}
    if len(at_index) != len(entries.indices):
        raise BadWeights("an index comes twice")
    found, used = _Entries(), {at_index.get(CONSTANT & header.mask)} - {None}
    if "--noconstant" in header.options:
        used.clear()
    for name in names:
        index = vw_index(name, header.bits, header.hash_seed, header.hash_all)
        at = at_index.get(index)
        if at is None:
            continue
        used.add(at)
        found.names.append(name)
        found.indices.append(index)
        found.w.append(entries.w[at])
        found.n += entries.n[at : at + 1]
    return found, len(at_index) - len(used)


def _feature(name: str, names_as: str) -> Feature:
    namespace, caret, feature = name.partition("^")
    if not caret:
        return feature_of(name)
    return (namespace, feature) if names_as == "namespace" else feature_of(feature)


def vw_name_of(feature: Feature) -> str:
    """`namespace^feature` that `names_as="namespace"` reads as this feature; BadWeights if none."""
    name, value = feature
    text = text_of(feature) if value is None else f"{name}^{value}"
    if _feature(text, "namespace") != feature:
        raise BadWeights(f"feature {shown(feature)} cannot be spelled: its name has ^")
    return plain(text, feature, "Vowpal Wabbit's format", ":|")


def write_vw(weights: LinearWeights, bits: int = 18) -> bytes:
    """A text as --invert_hash writes it: names, VW's own indices of them, and weights.

    For programs that read such text: VW itself loads only its binary models. BadWeights for a
    feature it cannot hold.
    """
    arguments.integer("bits", bits, 1, 30)
    names = [vw_name_of(feature) for feature in weights.features]
    if CONSTANT_NAME in names:
        raise BadWeights(f"a feature is called {CONSTANT_NAME!r}, as Vowpal Wabbit's bias is")
    rows = [
        (vw_index(name, bits), name, w) for name, w in zip(names, weights.w.tolist(), strict=True)
    ]
    rows.append((CONSTANT & ((1 << bits) - 1), CONSTANT_NAME, weights.bias))
    header = (
        "Version 9.11.9\nId \nMin label:-50\nMax label:50\n"
        f"bits:{bits}\nlda:0\n0 ngram:\n0 skip:\noptions: --link logistic\nChecksum: 0\n:0\n"
    )
    lines = [f"{name}:{index}:{w:.9g}\n" for index, name, w in sorted(rows)]
    return (header + "".join(lines)).encode()
