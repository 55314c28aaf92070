"""Bodies of the API pages that are not text: the same two examples, byte for byte as they are sent.

The document refers to them by `externalValue`, so a client can download one and send it as it is:

    curl -s $URL/docs/assets/example.msgpack | curl $URL/learn --data-binary @- -H \
        'Content-Type: application/msgpack'

The Arrow stream is a file, since pyarrow is an extra; the others are made when asked for.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from app.page_files import content
from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import encode_examples, whole_request

EXAMPLES: list[dict[str, Any]] = [
    {"label": 1, "features": {"ad": "a9", "price": 3.5}},
    {"label": 0, "features": {"ad": "a4", "price": 1.25}},
]
# file -> media type
EXAMPLE_FILES = {
    "example.msgpack": "application/msgpack",
    "example.arrows": "application/vnd.apache.arrow.stream",
    "example.batch": "application/x-clickfold-batch",
}


@cache
def example_body(file: str) -> bytes:
    """The bytes of a file of EXAMPLE_FILES."""
    if file == "example.arrows":
        return content(file)
    if file == "example.msgpack":
        return msgspec.msgpack.encode({"examples": EXAMPLES})
    batch = ExampleBatch.from_examples(EXAMPLES)
    return encode_examples(batch, whole_request(batch))
