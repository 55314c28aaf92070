"""scripts/inspect against a real Redis: the record of a feature equals the model's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from app.cli.inspect_feature import app
from app.embedded_server import EmbeddedServer
from app.redis_keys import ModelKeys
from ftrl_core.batch import ExampleBatch
from ftrl_core.checkpoint import Manifest, cut
from ftrl_core.model import Model

GENERATION, NONCE = "1-0123456789abcdef", "0" * 16


def learned_model() -> Model:
    model = Model({"table_bits": 16})
    examples = [
        {"label": i % 3 == 0, "features": {"ad": f"a{i % 7}", "price": i / 10, "new": i % 2 == 0}}
        for i in range(200)
    ]
    for example in examples:
        example["label"] = int(bool(example["label"]))
    model.learn(ExampleBatch.from_examples(examples))
    return model


def store(client: redis.Redis, keys: ModelKeys, model: Model) -> None:
    """The model as a checkpoint, in the keys that the store writes."""
    taken = cut(model, -1)
    manifest = Manifest.advance(None, taken, GENERATION, NONCE)
    for index, page in taken.pages.items():
        client.set(keys.page(GENERATION, index), bytes(page))
    client.set(keys.manifest(GENERATION), manifest.encode())
    client.hset(keys.meta, "manifest", GENERATION)


def run(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_record_is_that_of_the_model(redis_server: EmbeddedServer) -> None:
    model, keys = learned_model(), ModelKeys("ctr", "default")
    with redis.Redis.from_url(redis_server.url) as client:
        store(client, keys, model)
    for feature, name, value in (
        ("ad=a3", "ad", "a3"),
        ("price", "price", None),
        ("new", "new", None),
        ("ad=never=seen", "ad", "never=seen"),
    ):
        result = run(feature, "--redis-url", redis_server.url, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        expected = model.record(name, value)
        assert {key: found[key] for key in expected} == expected
        assert found["position"] == str(model.position)
    assert json.loads(run("ad=a3", "--redis-url", redis_server.url, "--json").stdout)["n"][0] > 0


def test_socket_is_found_in_the_data_directory(
    redis_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        store(client, ModelKeys("ctr", "default"), learned_model())
        data_dir = str(client.config_get("dir")["dir"])
    root = data_dir.removesuffix("/redis")
    result = run("ad=a3", "--data-dir", root)
    assert result.exit_code == 0, result.output
    assert "weight" in result.stdout


def test_a_damaged_page_is_not_shown(redis_server: EmbeddedServer) -> None:
    model, keys = learned_model(), ModelKeys("ctr", "default")
    with redis.Redis.from_url(redis_server.url) as client:
        store(client, keys, model)
        index = int(model.record("ad", "a3")["slot"]) // model.table.page_slots
        page = bytearray(model.table.page(index).tobytes())
        page[0] ^= 1
        client.set(keys.page(GENERATION, index), bytes(page))
    result = run("ad=a3", "--redis-url", redis_server.url)
    assert result.exit_code == 1
    assert "another checksum" in result.stderr


def test_what_is_not_there_is_said(redis_url: str, tmp_path: Any) -> None:
    assert "no checkpoint" in run("ad=a3", "--redis-url", redis_url).stderr
    assert run("ad=a3", "--data-dir", str(tmp_path)).exit_code == 1
    assert run("ad=a3", "--redis-url", f"unix://{tmp_path}/none").exit_code == 1
    assert run("ad=a3", "--model", "{}", "--redis-url", redis_url).exit_code == 2
