"""Every example of a body in the OpenAPI document is sent as it is written there, and is taken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.app.http_service import Service, running

MEDIA_TYPES = {
    "application/json",
    "application/x-ndjson",
    "application/msgpack",
    "application/vnd.apache.arrow.stream",
    "application/x-clickfold-batch",
    "text/x-vw",
}
# What these need cannot be had in a service that is well: the answer says so, and names the reason.
NOT_NOW = {"/admin/skip": "/problems/not-stuck"}


def _examples(document: dict[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """(method, path, media type, example) of every body that has one."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                given = [content["example"]] if "example" in content else []
                several = content.get("examples", {}).values()
                given += [one.get("value", one.get("externalValue")) for one in several]
                for example in given:
                    yield method, path, kind, example


async def _send(service: Service, method: str, path: str, kind: str, example: Any) -> Any:
    client = service.client
    if isinstance(example, dict):
        return await client.request(method, path, json=example)
    if example.startswith("/docs/"):
        example = (await client.get(example)).content
    return await client.request(method, path, content=example, headers={"content-type": kind})


async def test_every_example_runs_as_it_is_given(redis_url: str, tmp_path: Path) -> None:
    sent: dict[str, set[str]] = {}
    async with running(redis_url, tmp_path) as service:
        await service.client.put("/models/ads", json={"table_bits": 12})
        document = (await service.client.get("/openapi.json")).json()
        for method, path, kind, example in _examples(document):
            real = path.replace("{model}", "ads").replace("{name}", "one")
            reply = await _send(service, method, real, kind, example)
            where = f"{method} {real} as {kind}: {reply.text}"
            expected = next((NOT_NOW[p] for p in NOT_NOW if path.endswith(p)), None)
            if expected is None:
                assert reply.status_code in (200, 201), where
            else:
                assert reply.json()["type"] == expected, where
            sent.setdefault(path, set()).add(kind)
    for path in ("/learn", "/predict", "/models/{model}/learn", "/models/{model}/predict"):
        assert sent[path] >= MEDIA_TYPES
    assert sent.keys() >= {"/models/{model}", "/admin/snapshots", "/admin/skip"}
