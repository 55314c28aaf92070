"""The same examples in every media type of /learn and /predict: one service, one outcome."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ftrl_core.batch import ExampleBatch
from ftrl_core.entry import encode_examples, whole_request
from ftrl_core.model import Model
from tests.app.http_service import SMALL, running

pa = pytest.importorskip("pyarrow")

EXAMPLES: list[dict[str, Any]] = [
    {"label": i % 3 // 2, "id": f"e{i}", "features": {"ad": f"a{i % 7}", "price": i / 8}}
    for i in range(40)
]


def vw_of(examples: list[dict[str, Any]]) -> bytes:
    lines = [
        f"{e['label']} '{e['id']}|ad {e['features']['ad']} | price:{e['features']['price']}\n"
        for e in examples
    ]
    return "".join(lines).encode()


def arrow_of(examples: list[dict[str, Any]]) -> bytes:
    columns = {k: [e[k] for e in examples] for k in ("label", "id")}
    columns |= {k: [e["features"][k] for e in examples] for k in ("ad", "price")}
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def packed_of(examples: list[dict[str, Any]]) -> bytes:
    batch = ExampleBatch.from_examples(examples)
    return encode_examples(batch, whole_request(batch))


BODIES = {
    "application/json": json.dumps({"examples": EXAMPLES}).encode(),
    "application/x-ndjson": "".join(json.dumps(e) + "\n" for e in EXAMPLES).encode(),
    "application/msgpack": msgspec.msgpack.encode({"examples": EXAMPLES}),
    "application/x-clickfold-batch": packed_of(EXAMPLES),
    "application/vnd.apache.arrow.stream": arrow_of(EXAMPLES),
    "text/x-vw": vw_of(EXAMPLES),
}


def query_of(kind: str) -> str:
    return "?id=tag" if kind == "text/x-vw" else ""


@pytest.mark.parametrize("kind", BODIES)
async def test_learning_and_predicting(redis_url: str, tmp_path: Path, kind: str) -> None:
    library = Model(SMALL)
    batch = ExampleBatch.from_examples(EXAMPLES)
    headers = {"content-type": kind}
    zipped = {**headers, "content-encoding": "gzip"}
    query, body = query_of(kind), BODIES[kind]
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post(f"/learn{query}", content=body, headers=headers)
        assert reply.status_code == 200, reply.text
        assert reply.json()["predictions"] == library.learn(batch).tolist()
        again = await service.client.post(
            f"/learn{query}", content=gzip.compress(body), headers=zipped
        )
        assert again.json()["duplicates"] == len(EXAMPLES)
        reply = await service.client.post(f"/predict{query}", content=body, headers=headers)
        assert reply.json()["predictions"] == library.predict(batch).tolist()
        stats = (await service.client.get("/stats")).json()
        assert stats["digest"] == library.digest()


async def test_damaged_bodies_are_refused_as_the_clients_fault(
    redis_url: str, tmp_path: Path, seed: int
) -> None:
    choose = random.Random(seed)
    async with running(redis_url, tmp_path) as service:
        for kind, body in BODIES.items():
            for _ in range(40):
                damaged = bytearray(body)
                for _ in range(choose.randrange(1, 4)):
                    damaged[choose.randrange(len(body))] = choose.randrange(256)
                reply = await service.client.post(
                    "/predict", content=bytes(damaged), headers={"content-type": kind}
                )
                assert reply.status_code in (200, 400, 413, 422), reply.text


@pytest.mark.parametrize(
    ("kind", "query"),
    [("application/json", "id=tag"), ("text/x-vw", "id=other"), ("text/x-vw", "id=tag&id=tag")],
)
async def test_id_is_tag_and_of_vw_text(
    redis_url: str, tmp_path: Path, kind: str, query: str
) -> None:
    async with running(redis_url, tmp_path) as service:
        reply = await service.client.post(
            f"/predict?{query}", content=BODIES[kind], headers={"content-type": kind}
        )
        assert reply.status_code == 422
        assert reply.json()["type"] == "/problems/bad-query"
