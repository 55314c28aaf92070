"""Random and damaged bodies: the fast path equals the slow one, errors and all."""

from __future__ import annotations

import json
import random

from app.ingest import (
    decode_json,
)
from tests.oracle import json_text
from tests.oracle.slow_ingest import LIMITS, SEED, assert_same, outcome, slow_json


def random_body(choose: random.Random) -> bytes:
    """A body in random spelling; one in three has something wrong somewhere."""
    rows = []
    for _ in range(choose.randrange(1, 6)):
        fields = [f'"features":{json_text.features(choose)}', f'"label":{choose.choice("01")}']
        if choose.random() < 0.5:
            fields.append(f'"id":{choose.choice([json.dumps(json_text.word(choose)), "17"])}')
        if choose.random() < 0.3:
            fields.append(f'"weight":{json_text.number(choose, 2e6)}')
        if choose.random() < 0.05:
            fields.append(choose.choice(['"label":7', '"x":1', '"features":{"a":[[]]}']))
        choose.shuffle(fields)
        rows.append("{" + ("," + json_text.space(choose)).join(fields) + "}")
    members = ['"examples":[' + ",".join(rows) + "]"]
    if choose.random() < 0.3:
        members.append(f'"shared":{json_text.features(choose)}')
    choose.shuffle(members)
    return ("{" + ",".join(members) + "}").encode()


def test_random_bodies_equal_the_slow_path(seed: int) -> None:
    choose = random.Random(seed)
    refused = sum(len(assert_same(random_body(choose))) != 7 for _ in range(700))
    assert 100 < refused < 600


def test_damaged_bodies_are_errors_of_our_own(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(1500):
        body = bytearray(random_body(choose))
        for _ in range(choose.randrange(1, 4)):
            at = choose.randrange(len(body))
            kind = choose.randrange(3)
            if kind == 0:
                body[at] = choose.randrange(256)
            elif kind == 1:
                del body[at : at + choose.randrange(5)]
            else:
                body[at:at] = choose.choice(
                    [b'"', b"\\", b"{", b"]", b"1e9", b"\xc3", b",", b"\\u"]
                )
            if not body:
                break
        fast = outcome(decode_json, bytes(body), LIMITS, SEED)
        if len(fast) == 7:
            assert fast == outcome(slow_json, bytes(body))
