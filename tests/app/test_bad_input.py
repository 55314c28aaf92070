"""Bad input over HTTP: each kind is answered, placed, learns nothing and is not repeated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.app.http_service import running

JSON = "application/json"
NDJSON = "application/x-ndjson"
ECHO = "QZXJ"  # stands in every hostile value that a reply could repeat
OK: dict[str, Any] = {"label": 1, "features": {"a": "b"}}


class Case(NamedTuple):
    """A body and what is answered; `row` and `pointer` are compared when they are given."""

    name: str
    body: bytes
    status: int
    content_type: str | None = JSON
    row: int | None = None
    pointer: str | None = None
    encoding: str | None = None


def _with(**changed: Any) -> bytes:
    return json.dumps({**OK, **changed}).encode()


def _row(**changed: Any) -> bytes:
    """Three examples, the last of which is changed."""
    return json.dumps({"examples": [OK, OK, {**OK, **changed}]}).encode()


def _feature(value: Any) -> bytes:
    return _with(features={"a": value})


DEEP = b'{"label":1,"features":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
UNDECODABLE = [
    Case("empty", b"", 400),
    Case("cut off", b'{"label": 1, "QZXJ', 400),
    Case("not json", b"QZXJ", 400),
    Case("not utf-8", b"\xff\xfe", 400),
    Case("utf-16", '{"label": 1, "features": {}}'.encode("utf-16"), 400),
    Case("byte order mark", b"\xef\xbb\xbf" + _with(), 400),
    Case("bad byte in a value", b'{"label":1,"features":{"a":"QZXJ\xff"}}', 400),
    Case("nan label", b'{"label":NaN,"features":{}}', 400),
    Case("nan value", b'{"label":1,"features":{"a":NaN}}', 400),
    Case("infinite value", b'{"label":1,"features":{"a":Infinity}}', 400),
    Case("trailing bytes", _with() + b"QZXJ", 400),
    Case("trailing comma", b'{"label":1,"features":{"a":"b",}}', 400),
    Case("single quotes", b"{'label':1,'features':{}}", 400),
    Case("deep nesting", DEEP, 400),
    Case("nul byte", b'{"label":1,"features":{"a\x00QZXJ":"b"}}', 400),
    Case("second line cut off", _with() + b"\n{QZXJ\n", 400, NDJSON),
    Case("damaged gzip", b"QZXJ", 400, encoding="gzip"),
    Case("truncated gzip", gzip.compress(_with())[:-9], 400, encoding="gzip"),
    Case("damaged zstd", b"QZXJ", 400, encoding="zstd"),
]
WRONG = [
    Case("a list", b"[]", 422),
    Case("null", b"null", 422),
    Case("a string", b'"QZXJ"', 422),
    Case("label 2", _row(label=2), 422, row=2, pointer="/examples/2/label"),
    Case("label -1", _row(label=-1), 422, row=2, pointer="/examples/2/label"),
    Case("label 0.5", _row(label=0.5), 422, row=2, pointer="/examples/2/label"),
    Case("label text", _row(label="QZXJ"), 422, row=2, pointer="/examples/2/label"),
    Case("label null", _row(label=None), 422, row=2, pointer="/examples/2/label"),
    Case("label true", _row(label=True), 422, row=2, pointer="/examples/2/label"),
    Case("no label", json.dumps({"features": {}}).encode(), 422),
    Case("no features", json.dumps({"label": 1}).encode(), 422),
    Case("weight -1", _row(weight=-1), 422, row=2, pointer="/examples/2/weight"),
    Case("weight text", _row(weight="QZXJ"), 422, row=2, pointer="/examples/2/weight"),
    Case("weight 1e300", _row(weight=1e300), 422, row=2, pointer="/examples/2/weight"),
    Case("weight true", _row(weight=True), 422, row=2, pointer="/examples/2/weight"),
    Case("features a list", _row(features=[]), 422, row=2, pointer="/examples/2/features"),
    Case("features null", _row(features=None), 422, row=2, pointer="/examples/2/features"),
    Case("features text", _row(features="QZXJ"), 422, row=2, pointer="/examples/2/features"),
    Case("nested object", _row(features={"a": {"QZXJ": 1}}), 422, row=2),
    Case("list of lists", _row(features={"a": [["QZXJ"]]}), 422, row=2),
    Case("value 1e38", _feature(1e38), 422, pointer="/features/a"),
    Case("value 1e999", b'{"label":1,"features":{"a":1e999}}', 422),
    Case("lone surrogate", b'{"label":1,"features":{"a":"\\ud800"}}', 400),
    Case("id empty", _row(id=""), 422, row=2, pointer="/examples/2/id"),
    Case("id long", _row(id="x" * 5000), 422, row=2, pointer="/examples/2/id"),
    Case("id a fraction", _row(id=5.5), 422, row=2, pointer="/examples/2/id"),
    Case("id with a line break", _row(id="QZXJ\n"), 422, row=2, pointer="/examples/2/id"),
    Case("id true", _row(id=True), 422, row=2, pointer="/examples/2/id"),
    Case("unknown member", _row(QZXJ=1), 422, row=2),
    Case("unknown member of the body", json.dumps({"examples": [], "QZXJ": 1}).encode(), 422),
    Case("examples an object", b'{"examples": {}}', 422),
    Case("shared a list", json.dumps({"shared": [], "examples": [OK]}).encode(), 422),
    Case("second line wrong", _with() + b"\n" + _with(label=7) + b"\n", 422, NDJSON, row=1),
]
LARGE = [
    Case("long name", _with(features={"QZXJ" * 200: 1}), 422),
    Case("long value", _feature("QZXJ" * 2000), 422),
    Case("many features", _with(features={f"f{i}": "x" for i in range(5000)}), 413),
    Case("many examples", json.dumps({"examples": [OK] * 10_001}).encode(), 413),
    Case("gzip bomb", gzip.compress(b" " * (140 << 20), 1), 413, encoding="gzip"),
]
OTHER = [
    Case("text", b"QZXJ", 415, "text/plain"),
    Case("form", b"QZXJ", 415, "application/x-www-form-urlencoded"),
    Case("picture", _with(), 415, "image/png"),
    Case("no content type", _with(), 415, None),
    Case("other charset", _with(), 415, "application/json; charset=utf-16"),
    Case("other encoding", _with(), 415, encoding="br"),
    Case("two encodings", gzip.compress(_with()), 415, encoding="gzip, gzip"),
]
CASES = [*UNDECODABLE, *WRONG, *LARGE, *OTHER]


def _headers(case: Case) -> dict[str, str]:
    headers = {"content-type": case.content_type, "content-encoding": case.encoding}
    return {name: value for name, value in headers.items() if value is not None}


def _faults(case: Case, reply: Any) -> list[str]:
    if reply.status_code != case.status:
        return [f"status {reply.status_code}: {reply.text[:200]}"]
    problem = reply.json()
    faults = []
    if reply.headers["content-type"] != "application/problem+json":
        faults.append("content type")
    pointed = problem.pop("pointer", None)  # a pointer names keys, that is its use
    if ECHO in json.dumps(problem) or len(reply.content) > 1000:
        faults.append("echo")
    if problem["status"] != case.status or not problem["type"].startswith("/problems/"):
        faults.append("shape")
    if case.row is not None and problem.get("row") != case.row:
        faults.append(f"row {problem.get('row')}")
    if case.pointer is not None and pointed != case.pointer:
        faults.append(f"pointer {pointed}")
    return faults


@pytest.mark.parametrize("path", ["/learn", "/predict"])
async def test_every_kind_of_bad_input(redis_url: str, tmp_path: Path, path: str) -> None:
    assert len(CASES) >= 40
    faults = []
    async with running(redis_url, tmp_path) as service:
        await service.client.post("/learn", json=OK)
        before = await service.digest()
        for case in CASES:
            ignored = "label" in case.name or case.name == "second line wrong"
            if path == "/predict" and ignored:
                continue  # predicting ignores the label
            reply = await service.client.post(path, content=case.body, headers=_headers(case))
            faults += [f"{case.name}: {fault}" for fault in _faults(case, reply)]
            if await service.digest() != before:
                faults.append(f"{case.name}: the state changed")
                break
        in_flight = service.app.state.reader.in_flight_bytes
    assert not faults, "\n".join(faults)
    assert in_flight == 0


async def test_a_huge_integer_is_one_of_the_refusals(redis_url: str, tmp_path: Path) -> None:
    body = b'{"label":1,"features":{"a":' + b"9" * 5000 + b"}}"
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post("/learn", content=body, headers={"content-type": JSON})
        assert reply.status_code in (400, 422)
