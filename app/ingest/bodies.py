"""JSON and NDJSON bodies to batches: the wrapper is decoded by type, the features stay raw.

    {"shared": {...}, "examples": [row, row, ...]}       or one row alone        (JSON)
    row \\n row \\n row                                    blank lines are skipped (NDJSON)

Of a key that comes twice in the wrapper or in an example the last counts, and each must be right;
inside features both contribute. In NDJSON the row of an error is the index of its line, blank ones
counted, and the pointer is inside that line. No examples at all are refused: there would be nothing
to acknowledge.

msgspec does not check UTF-8 in what it skips, so the whole body is checked first: `isascii` reads
it at memory speed, and most bodies are ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn

import numpy as np
from msgspec import UNSET, DecodeError, Raw, Struct, UnsetType, ValidationError
from msgspec.json import Decoder

from app.ingest.rows import LearnRow, Row, ScoreRow, Source, explain, rows_to_batch
from ftrl_core.batch import ExampleBatch
from ftrl_core.errors import BadBody, TooLarge
from ftrl_core.features import Place, Reader
from ftrl_core.limits import Limits
from ftrl_core.text_scan import count_line_feeds


class _LearnBody(Struct, forbid_unknown_fields=True):
    examples: list[LearnRow]
    shared: Raw | UnsetType = UNSET


class _ScoreBody(Struct, forbid_unknown_fields=True):
    examples: list[ScoreRow]
    shared: Raw | UnsetType = UNSET


_LEARN_BODY = Decoder(_LearnBody)
_SCORE_BODY = Decoder(_ScoreBody)
_LEARN_ROW = Decoder(LearnRow)
_SCORE_ROW = Decoder(ScoreRow)
_MEMBERS = Decoder(dict[str, Raw])
_RAW_LIST = Decoder(list[Raw])

_ROW_KEYS = frozenset({"features", "label", "weight", "id"})
_BODY_KEYS = frozenset({"examples", "shared"})
_BODY = Place(None, "")
_EXAMPLES = Place(None, "/examples")
_BYTE = re.compile(r"byte \d+")
_DEFAULT_LIMITS = Limits()


def decode_json(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of a JSON body; without `require_labels` labels are ignored.

    Raises BadBody, BadExample or TooLarge.
    """
    _check_bytes(body, limits)
    reader = Reader(hash_seed, require_labels, limits)
    try:
        parsed = (_LEARN_BODY if require_labels else _SCORE_BODY).decode(body)
    except ValidationError:
        return _unusual_json(body, reader)
    except (DecodeError, RecursionError) as error:
        raise _malformed("the body", error) from None
    _check_count(len(parsed.examples), "examples", limits)
    shared = None if parsed.shared is UNSET else parsed.shared
    source = Source(_example_place, lambda row: bytes(_texts(_MEMBERS.decode(body))[row]))
    return rows_to_batch(parsed.examples, shared, source, reader)


def plain_features(body: bytes, limits: Limits) -> list[Raw] | None:
    """The features of a JSON body of examples to score that say nothing else, as they stand there.

    None for any other body, right or wrong: `decode_json` has the rules.
    """
    try:
        body.isascii() or body.decode()
        rows = _score_rows(body)
    except (UnicodeDecodeError, DecodeError, RecursionError):
        return None
    if not 0 < len(rows) <= limits.examples:
        return None
    if any(row.weight != 1.0 or row.id is not UNSET for row in rows):
        return None
    return [row.features for row in rows]


def _score_rows(body: bytes) -> list[ScoreRow]:
    try:
        parsed = _SCORE_BODY.decode(body)
    except ValidationError:
        return [_SCORE_ROW.decode(body)]
    return parsed.examples if parsed.shared is UNSET else []


def decode_ndjson(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of an NDJSON body, one example a line; as decode_json otherwise."""
    _check_bytes(body, limits)
    reader = Reader(hash_seed, require_labels, limits)
    ends, between = count_line_feeds(np.frombuffer(body, np.uint8))
    if ends > limits.examples:  # before the split makes an object of each
        raise TooLarge(f"a request has at most {limits.examples} lines")
    closed = body.endswith(b"\n")
    plain = None
    if between == ends - closed:
        plain = _plain_rows(body, ends + (not closed), require_labels)
    if plain is not None:
        _check_count(len(plain), "lines", limits)
        source = Source(lambda row: Place(row, ""), lambda row: body.split(b"\n")[row])
        return rows_to_batch(plain, None, source, reader)
    lines = [
        (index, line) for index, line in enumerate(body.split(b"\n")) if line and not line.isspace()
    ]
    _check_count(len(lines), "lines", limits)
    decode = (_LEARN_ROW if require_labels else _SCORE_ROW).decode
    rows: list[Row] = []
    for index, line in lines:
        try:
            rows.append(decode(line))
        except ValidationError:
            break
        except (DecodeError, RecursionError) as error:
            raise _malformed(f"line {index + 1}", error) from None
    source = Source(lambda row: Place(lines[row][0], ""), lambda row: lines[row][1])
    batch = rows_to_batch(rows, None, source, reader)
    if len(rows) < len(lines):
        explain(len(rows), source, reader, 0)
    return batch


def _plain_rows(body: bytes, lines: int, require_labels: bool) -> Sequence[Row] | None:
    """The rows of a body each of whose lines is an object and nothing else, None for any other.

    Every line but the last is known to end with } and the next to begin with {. msgspec's
    decode_lines does not mind where lines end; but no object can go over such an end, since in JSON
    a comma would stand between the two, and a string cannot hold the end of a line. So if there are
    as many objects as lines, there is one in each.
    """
    try:
        rows = (_LEARN_ROW if require_labels else _SCORE_ROW).decode_lines(body)
    except (DecodeError, RecursionError):
        return None
    return rows if len(rows) == lines else None


def _check_bytes(body: bytes, limits: Limits) -> None:
    """Size and UTF-8 of a whole body."""
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            raise BadBody("the body is not valid UTF-8") from None


def _check_count(count: int, what: str, limits: Limits) -> None:
    if count == 0:
        raise _EXAMPLES.wrong("there are no examples")
    if count > limits.examples:
        raise _EXAMPLES.too_large(f"a request has at most {limits.examples} {what}")


def _malformed(what: str, error: DecodeError | RecursionError) -> BadBody:
    """Of the parser's message only the place is kept, lest it repeats the input."""
    if isinstance(error, RecursionError):
        return BadBody(f"{what} is nested too deeply")
    found = _BYTE.search(str(error))
    return BadBody(f"{what} is not well-formed JSON" + (f" ({found[0]})" if found else ""))


def _example_place(row: int) -> Place:
    return Place(row, f"/examples/{row}")


def _unusual_json(body: bytes, reader: Reader) -> ExampleBatch:
    """A body that is not the usual wrapper: one example alone, or something wrong."""
    source = Source(lambda _: Place(0, ""), lambda _: body)
    try:
        row = (_LEARN_ROW if reader.require_labels else _SCORE_ROW).decode(body)
    except ValidationError:
        _explain_unusual(body, source, reader)
    except (DecodeError, RecursionError) as error:
        raise _malformed("the body", error) from None
    return rows_to_batch([row], None, source, reader)


def _explain_unusual(body: bytes, source: Source, reader: Reader) -> NoReturn:
    """Raise what is wrong with a body that is neither a wrapper nor one example alone."""
    try:
        members = _MEMBERS.decode(body)
    except ValidationError:
        raise _BODY.wrong("the body must be an object") from None
    except (DecodeError, RecursionError) as error:
        raise _malformed("the body", error) from None
    if "examples" in members:
        _explain_wrapper(members, reader)
    if not _ROW_KEYS & members.keys():
        raise _EXAMPLES.wrong("examples are missing")
    explain(0, source, reader, 0)


def _texts(members: dict[str, Raw]) -> list[Raw]:
    """The examples of a body, each as its text."""
    try:
        return _RAW_LIST.decode(members["examples"])
    except ValidationError:
        raise _EXAMPLES.wrong("examples must be a list") from None


def _explain_wrapper(members: dict[str, Raw], reader: Reader) -> NoReturn:
    """Raise what is wrong with a body that has examples and that msgspec has refused."""
    for key in members:
        if key not in _BODY_KEYS:
            raise _BODY.within(key).wrong("unknown key: a body has examples and shared")
    texts = _texts(members)
    _check_count(len(texts), "examples", reader.limits)
    decode = (_LEARN_ROW if reader.require_labels else _SCORE_ROW).decode
    rows: list[Row] = []
    for text in texts:
        try:
            rows.append(decode(text))
        except ValidationError:
            break
    source = Source(_example_place, lambda row: bytes(texts[row]))
    rows_to_batch(rows, members.get("shared"), source, reader)  # a row before it may be wrong too
    if len(rows) < len(texts):
        explain(len(rows), source, reader, 0)
    raise _BODY.wrong("a key comes twice, and one of its values is wrong")
