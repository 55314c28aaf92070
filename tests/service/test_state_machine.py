"""Any sequence of requests, restarts between them: the service is what a few dicts say.

The application runs in process over a real server, one server for all sequences, each under a key
prefix and in a folder of its own. CLICKFOLD_TEST_SEQUENCES and CLICKFOLD_TEST_STEPS make it longer.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from tests.app.http_service import Service, running
from tests.oracle.service import PlainService, features_of

SEQUENCES = int(os.environ.get("CLICKFOLD_TEST_SEQUENCES", "8"))
STEPS = int(os.environ.get("CLICKFOLD_TEST_STEPS", "25"))
CLOSE = 2e-5  # float32 against float64, over some hundred examples
Result = TypeVar("Result")

models = strategies.sampled_from(["ads", "pins"])
names = strategies.sampled_from(["one", "two"])
rates = strategies.sampled_from([0.1, 0.5])
features = strategies.dictionaries(
    strategies.sampled_from(["ad", "site"]), strategies.sampled_from(["x", "y", "é"]), max_size=2
)
events = strategies.none() | strategies.sampled_from([f"e{number}" for number in range(12)])
examples = strategies.lists(
    strategies.builds(
        lambda event, label, given: {
            **({} if event is None else {"id": event}), "label": label, "features": given
        },
        events, strategies.sampled_from([0, 1]), features,
    ),
    min_size=1, max_size=4,
)  # fmt: skip
keys = strategies.none() | strategies.sampled_from(["k1", "k2"])
WRONG = (
    b"", b"{", b"[]", b'{"label":2,"features":{}}', b'{"label":1,"features":{"a":[[]]}}',
    b'{"examples":[{"label":1,"features":{}},{"label":7,"features":{}}]}', b'{"label":NaN}',
)  # fmt: skip


class Sequence(RuleBasedStateMachine):
    """The service beside the plain one."""

    url: ClassVar[str]
    folder: ClassVar[Path]
    numbers: ClassVar[Any] = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.plain = PlainService()
        self._number = next(self.numbers)
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._service: Service = self._run(self._start())

    async def _start(self) -> Service:
        folder = self.folder / f"s{self._number}"
        return await self._stack.enter_async_context(
            running(self.url, folder, key_prefix=f"s{self._number}", memory_limit=64 << 20)
        )

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(work)

    def _ask(self, method: str, path: str, **given: Any) -> httpx2.Response:
        return self._run(self._service.client.request(method, path, **given))

    def teardown(self) -> None:
        self._run(self._stack.aclose())
        self._runner.close()

    @rule(model=models, rate=rates)
    def put(self, model: str, rate: float) -> None:
        optimizer = {"learning_rate": rate, "beta": 1.0}
        body = {"optimizer": optimizer, "table_bits": 12, "deduplication_window": 4096}
        reply = self._ask("PUT", f"/models/{model}", json=body)
        assert reply.status_code == self.plain.put(model, rate), reply.text

    @rule(model=models, given=examples, key=keys)
    def learn(self, model: str, given: list[dict[str, Any]], key: str | None) -> None:
        body = json.dumps({"examples": given})
        headers = {"content-type": "application/json"}
        headers |= {} if key is None else {"idempotency-key": key}
        status, before = self.plain.learn(model, given, key, body)
        reply = self._ask("POST", f"/models/{model}/learn", content=body, headers=headers)
        assert reply.status_code == status, reply.text
        if status == 200:
            told = reply.json()
            assert told["duplicates"] == before.count(None)
            assert told["accepted"] == len(given) - before.count(None)
            assert told["predictions"] == close_to(before)

    @rule(model=models, given=examples)
    def predict(self, model: str, given: list[dict[str, Any]]) -> None:
        reply = self._ask("POST", f"/models/{model}/predict", json={"examples": given})
        known = self.plain.models.get(model)
        assert reply.status_code == (404 if known is None else 200)
        if known is not None:
            expected = [known.predict(features_of(example)) for example in given]
            assert reply.json()["predictions"] == close_to(expected)

    @rule(model=models, body=strategies.sampled_from(WRONG))
    def learn_wrongly(self, model: str, body: bytes) -> None:
        headers = {"content-type": "application/json", "idempotency-key": "wrong"}
        reply = self._ask("POST", f"/models/{model}/learn", content=body, headers=headers)
        assert reply.status_code in ((400, 422) if model in self.plain.models else (404,))

    @rule(model=models, rate=rates)
    def change(self, model: str, rate: float) -> None:
        changes = {"optimizer": {"learning_rate": rate}}
        reply = self._ask("PATCH", f"/models/{model}", json=changes)
        known = self.plain.models.get(model)
        assert reply.status_code == (404 if known is None else 200), reply.text
        if known is not None:
            known.change_rate(rate)

    @rule(model=models)
    def delete(self, model: str) -> None:
        known = self.plain.models.pop(model, None)
        reply = self._ask("DELETE", f"/models/{model}")
        assert reply.status_code == (404 if known is None else 204), reply.text

    @rule(model=models, name=names)
    def snapshot(self, model: str, name: str) -> None:
        reply = self._ask("POST", f"/models/{model}/admin/snapshots", json={"name": name})
        assert reply.status_code == self.plain.snapshot(model, name), reply.text

    @rule(model=models, name=names)
    def restore(self, model: str, name: str) -> None:
        reply = self._ask("POST", f"/models/{model}/admin/snapshots/{name}/restore")
        assert reply.status_code == self.plain.restore(model, name), reply.text

    @rule()
    def restart(self) -> None:
        self._run(self._stack.aclose())
        self._service = self._run(self._start())

    @invariant()
    def counts_are_right(self) -> None:
        listed = self._ask("GET", "/models").json()["models"]
        assert {one["model"] for one in listed} == {"default", *self.plain.models}
        for name, known in self.plain.models.items():
            told = self._ask("GET", f"/models/{name}/stats").json()
            assert (told["examples"], told["duplicates"]) == (known.examples, known.duplicates)


def close_to(numbers: list[Any]) -> list[Any]:
    return [None if p is None else pytest.approx(p, abs=CLOSE) for p in numbers]


def test_any_sequence_of_requests(redis_url: str, tmp_path: Path) -> None:
    Sequence.url, Sequence.folder = redis_url, tmp_path
    run_state_machine_as_test(
        Sequence,
        settings=settings(
            max_examples=SEQUENCES, stateful_step_count=STEPS, deadline=None, database=None,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )  # fmt: skip
