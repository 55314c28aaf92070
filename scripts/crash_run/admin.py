"""The administrating client: snapshots, restores, live changes, models made and deleted.

It does one thing after the other, so that an attempt without an answer can be settled afterwards: a
restore happened when the log's epoch went up, a snapshot when its name is listed.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from scripts.crash_run.clients import Gate
from scripts.crash_run.journal import Acknowledged, Batch, Journal
from scripts.crash_run.processes import Service

OPERATIONS = ("snapshot", "restore", "configure", "model", "delete")
MODELS = ("m0", "m1")
SMALL = {"table_bits": 11, "optimizer": {"learning_rate": 0.2}, "deduplication_window": 4096}
CHANGED = (
    "beta", "l1_regularization_strength", "l2_regularization_strength", "learning_rate",
)  # fmt: skip
EPOCH_SECONDS = 20.0


class Admin(threading.Thread):
    """Does what is `wanted`, and now and then something else."""

    def __init__(
        self,
        seed: int,
        services: Sequence[Service],
        journal: Journal,
        gate: Gate,
        allowed: Sequence[str],
        epoch: Callable[[], int | None],
    ) -> None:
        super().__init__(daemon=True)
        self._services, self._journal, self._gate = services, journal, gate
        self._random = random.Random(f"admin of {seed}")
        self._allowed = allowed
        self._epoch = epoch
        self._unsettled: tuple[int, str] | None = None  # epoch before, snapshot
        self._maybe_taken: set[str] = set()
        self._count = 0
        self.wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.idle = threading.Event()

    def run(self) -> None:
        """Until the gate says to finish."""
        while self._gate.finish_by is None:
            self.idle.set()
            self._gate.wait()
            self.idle.clear()
            try:
                operation = self.wanted.get(timeout=0.05)
            except queue.Empty:
                if self._random.random() > 0.1 or not self._allowed:
                    continue
                operation = self._random.choice(self._allowed)
            if operation in self._allowed:
                getattr(self, f"do_{operation}")()
        self.settle()
        self.idle.set()

    def _request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and document; 0 when there was no answer."""
        try:
            status, told = self._random.choice(self._services).request(method, path, body)
        except (OSError, http.client.HTTPException):
            time.sleep(0.01)
            return 0, None
        self._journal.count(f"{method} {status}")
        if status >= 500 and status != 503:
            self._journal.fault(f"{method} {path} answers {status}: {told}")
        return status, told

    def do_snapshot(self) -> None:
        """Take one under a new name."""
        self._count += 1
        name = f"s{self._count}"
        status, told = self._request("POST", "/admin/snapshots", {"name": name})
        if status == 201:
            self._journal.snapshots[name] = told
        elif status == 0:
            self._maybe_taken.add(name)

    def settle_snapshots(self) -> None:
        """Whether those without an answer were taken; a name that is listed is a whole snapshot."""
        for name in list(self._maybe_taken):
            status, told = self._request("GET", f"/admin/snapshots/{name}")
            if status == 200:
                self._journal.snapshots[name] = told
            if status in (200, 404):
                self._maybe_taken.discard(name)

    def do_restore(self) -> None:
        """Go back to one of the latest."""
        self.settle_snapshots()
        if not self._journal.snapshots:
            self.do_snapshot()
        if not self._journal.snapshots or not self.settle():
            return
        name = self._random.choice(list(self._journal.snapshots)[-4:])
        before = self._epoch()
        if before is None:
            return
        status, told = self._request("POST", f"/admin/snapshots/{name}/restore")
        if status == 200:
            self._journal.restored[int(told["position"].split("-")[0])] = name
        elif status in (404, 422):
            self._journal.fault(f"restoring {name} answers {status}: {told}")
        elif status in (0, 503):
            self._unsettled = before, name

    def settle(self) -> bool:
        """Find out whether a restore without an answer happened; False while nobody can tell."""
        if self._unsettled is None:
            return True
        deadline = time.monotonic() + EPOCH_SECONDS
        while (epoch := self._epoch()) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        before, name = self._unsettled
        if epoch > before:
            self._journal.restored[before + 1] = name
        self._unsettled = None
        return True

    def do_configure(self) -> None:
        """Change one argument of the live model."""
        name = self._random.choice(CHANGED)
        value = round(self._random.uniform(0.01, 0.5), 6)
        changes = {"optimizer": {name: value}}
        status, _ = self._request("PATCH", "/models/default", changes)
        if status == 200:
            self._journal.configured.append(changes)
        elif status not in (0, 503, 409):
            self._journal.fault(f"PATCH answers {status}")

    def do_model(self) -> None:
        """Make a model, and teach it something."""
        name = self._random.choice(MODELS)
        self._journal.deleted.discard(name)
        status, told = self._request("PUT", f"/models/{name}", SMALL)
        if status in (200, 201):
            self._journal.made.add(name)
        elif status not in (0, 503, 409):
            self._journal.fault(f"PUT /models/{name} answers {status}: {told}")
        self._teach(name)

    def _teach(self, model: str) -> None:
        self._count += 1
        ids = tuple(f"{model}.{self._count}.{i}" for i in range(3))
        examples = [{"id": i, "features": {"a": i[-1:], "b": model}, "label": 1} for i in ids]
        body = {"examples": examples}
        with self._journal.lock:
            self._journal.sent.update(ids)
            self._journal.attempts[None, ids] += 1
        status, told = self._request("POST", f"/models/{model}/learn", body)
        if status == 200:
            batch = Batch(model, ids, None, json.dumps(body).encode())
            self._journal.acknowledged.append(
                Acknowledged(
                    batch, told["position"], told["accepted"], told["duplicates"],
                    told.get("predictions"), self._journal.era,
                )
            )  # fmt: skip

    def do_delete(self) -> None:
        """Delete a model, made first where there is none."""
        name = self._random.choice(MODELS)
        if name not in self._journal.made:
            self.do_model()
        self._journal.made.discard(name)
        status, told = self._request("DELETE", f"/models/{name}")
        if status == 204:
            self._journal.deleted.add(name)
        elif status not in (0, 503, 404, 409):
            self._journal.fault(f"DELETE /models/{name} answers {status}: {told}")
