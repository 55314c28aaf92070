"""Examples as bodies other than JSON: msgpack, an Arrow stream, the service's own packed batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib import import_module

import msgspec

from scripts.benchmarks import xadd
from scripts.benchmarks.contenders import Missing
from scripts.benchmarks.examples import Example


def msgpack(given: Sequence[Example]) -> bytes:
    """The shape of the JSON body."""
    return msgspec.msgpack.encode({"examples": list(given)})


def arrow(given: Sequence[Example]) -> bytes:
    """A column a field, strings; null where an example has not got it."""
    try:
        pa = import_module("pyarrow")
    except ImportError:
        raise Missing("not available: pyarrow is not installed") from None
    names = dict.fromkeys(name for example in given for name in example["features"])
    columns = {name: [example["features"].get(name) for example in given] for name in names}
    table = pa.table({"label": [example["label"] for example in given], **columns})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def packed(given: Sequence[Example]) -> bytes:
    """What a client sends that hashes itself: the very entry that the log gets."""
    return xadd.entries([json.dumps({"examples": list(given)}).encode()])[0]


KINDS: dict[str, tuple[str, Callable[[Sequence[Example]], bytes]]] = {
    "packed": ("application/x-clickfold-batch", packed),
    "arrow": ("application/vnd.apache.arrow.stream", arrow),
    "msgpack": ("application/msgpack", msgpack),
}


def bodies(kind: str, given: Sequence[Sequence[Example]]) -> tuple[str, list[bytes]]:
    """The content type and a body of each chunk; Missing where the service takes none."""
    content_type, encode = KINDS[kind]
    return content_type, [encode(chunk) for chunk in given]
