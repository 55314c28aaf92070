"""Bodies of requests to batches of examples: the only way in for data.

    content       Content-Type and Content-Encoding: which decoder, bounded expansion
    bodies        JSON and NDJSON to typed rows, the features still raw bytes
    rows          typed rows to an ExampleBatch (kernels; a slow path for the unusual)
    slow_json     JSON text to Python objects that keep a name that comes twice
    decoding      decode_body: all of it, chosen by the headers

msgspec checks the syntax and the types of the wrapper and hands over the raw bytes of `features`;
a kernel (`ftrl_core.json_scan`) hashes them without making an object a feature. Whatever the fast
path refuses, only the one example at fault is read by `ftrl_core.features`, which knows the words:
so being wrong costs a client about as much time as being right. pydantic models were refused, they
take ten times as long; so was a JSON parser of our own.

Errors are BadBody (not decodable), BadExample and TooLarge (with row and pointer), and
UnsupportedMediaType. The first wrong row is the one that is named. No message repeats the input.
"""

from __future__ import annotations

from app.ingest.bodies import decode_json, decode_ndjson, plain_features
from app.ingest.content import UnsupportedMediaType
from app.ingest.decoding import Decoded, decode_body, warm_up

__all__ = [
    "Decoded",
    "UnsupportedMediaType",
    "decode_body",
    "decode_json",
    "decode_ndjson",
    "plain_features",
    "warm_up",
]
