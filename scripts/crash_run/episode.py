"""One data directory from its first start to the verdict: lives and deaths, quiet, what is served.

Each life has one plan (points.py). Clients go on through all of them. In the end they finish what
they began; then every service, one started anew and an exported snapshot tell their digest, Redis
is ended, and the judge reads its file.
"""

from __future__ import annotations

import json
import random
import signal
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import redis

from ftrl_core.snapshot_file import read_snapshot
from scripts.crash_run import history, kept
from scripts.crash_run.admin import MODELS, OPERATIONS, Admin
from scripts.crash_run.clients import Client, Gate, pause
from scripts.crash_run.journal import Journal
from scripts.crash_run.judge import Judge, Verdict, judge
from scripts.crash_run.losses import Losses
from scripts.crash_run.points import OPERATIONS as OPERATION_OF
from scripts.crash_run.points import Deck, Life, Profile
from scripts.crash_run.processes import (
    HarnessError,
    Redis,
    Service,
    Template,
    Violation,
    remove,
)
from scripts.crash_run.proxy import REPLY, REQUEST, Proxy

CLIENTS = 3
LIFE_SECONDS = 1.5
IDLE_SECONDS = 0.06
DEADLY = ("exit", "kill-redis", "kill-both")
CONFIGS: tuple[dict[str, Any], ...] = (
    {"table_bits": 9, "optimizer": {"learning_rate": 0.1}},
    {"table_bits": 14, "optimizer": {"learning_rate": 0.3, "l1_regularization_strength": 0.2}},
    {"table_bits": 8, "deduplication_window": 300},
    {"table_bits": 11},
    {"table_bits": 9, "optimizer": {"learning_rate": 0.05}, "deduplication_window": 300},
)


@dataclass(slots=True)
class Outcome:
    """What an episode came to."""

    seed: str
    profile: Profile
    verdict: Verdict = field(default_factory=Verdict)
    crashes: Counter[str] = field(default_factory=Counter)  # by point and action, or signal
    trouble: Counter[str] = field(default_factory=Counter)  # what no process died of
    answers: Counter[str] = field(default_factory=Counter)
    digest: str = ""
    noticed: int = 0  # losses of acknowledged entries that a service told
    seconds: float = 0.0
    directory: str = ""  # kept when something was wrong


class Episode:
    """See the head of this file."""

    def __init__(
        self, template: Template, seed: str, profile: Profile, lives: int, chosen: list[str]
    ) -> None:
        self.outcome = Outcome(seed, profile)
        self._random = random.Random(seed)
        self._template, self._profile, self._lives = template, profile, lives
        self.directory = Path(tempfile.mkdtemp(prefix="clickfold-crash-"))
        self._config = self._random.choice(CONFIGS)
        self._redis = None
        if not profile.embedded:
            self._redis = Redis(self.directory, "everysec" if profile.everysec else "always")
        self._proxy = self._losses = None
        if self._redis is not None and profile.proxy:
            self._proxy = Proxy(self.directory / "p", self._redis.socket)
        if self._redis is not None and profile.everysec:
            self._losses = Losses(self._redis, self._random)
        self._services = [self._service(number) for number in range(profile.services)]
        self._journal, self._gate = Journal(), Gate()
        self._damaged: set[str] = set()  # keys of pages
        pid_file = "" if self._redis is None else str(self._redis.pid_file)
        self._deck = Deck(self._random, profile, pid_file, chosen)
        self._clients = [
            Client(number, self._random.getrandbits(32), self._services, self._journal, self._gate)
            for number in range(CLIENTS)
        ]
        self._admin = Admin(
            self._random.getrandbits(32), self._services, self._journal, self._gate,
            () if profile.everysec else OPERATIONS, self._epoch,
        )  # fmt: skip

    def _service(self, number: int) -> Service:
        settings: dict[str, Any] = {
            "data_dir": str(self.directory / f"data{number}"),
            "snapshot_dir": str(self.directory / "snapshots"),
            "checkpoint_log_bytes": 3000,
            "checkpoint_idle_seconds": IDLE_SECONDS,
            "config": json.dumps({"deduplication_window": 1 << 16, **self._config}),
        }
        if self._redis is not None:
            settings["redis_url"] = self._redis.url if self._proxy is None else self._proxy.url
        if self._profile.everysec:
            settings["durability"] = "everysec"
        return Service(self._template, settings, self.directory / f"service{number}.log")

    def run(self) -> Outcome:
        """The whole episode."""
        began = time.monotonic()
        try:
            self._crash()
            served = self._served()
            self._end()
            logs = history.logs(self._append_only_file())
            surviving = () if self._losses is None else tuple(self._losses.surviving)
            self.outcome.verdict, last = judge(logs, self._journal, served, surviving)
            self._compare_file(last["default"])
            self.outcome.digest = last["default"].state.fold.digest()
        except Violation as violation:
            self.outcome.verdict.violations.append(str(violation))
        except Exception as error:  # noqa: BLE001  nothing can be said for the product either
            traceback.print_exc()
            text = f"the episode could not be judged: {type(error).__name__}: {error}"
            self.outcome.verdict.violations.append(text)
        finally:
            self._clean_up()
        self.outcome.answers = self._journal.answers
        self.outcome.seconds = round(time.monotonic() - began, 2)
        return self.outcome

    # Lives

    def _crash(self) -> None:
        for number in range(self._lives):
            self._live(self._services[number % len(self._services)], first=number == 0)
        self._start_dead()
        for service in self._services:
            self._must_be_ready(service)
        self._gate.finish()
        for client in [*self._clients, self._admin]:
            client.join(120)
            if client.is_alive():
                raise HarnessError("a client does not end")

    def _live(self, service: Service, *, first: bool) -> None:
        life = self._deck.life()
        if service.is_alive():
            service.kill()
        self._look_at_kept()
        if "damage" in life.needs:
            self._damage_a_page()
        if self._losses is not None:
            self._losses.life_begins()
        service.start(life.plan)
        self._start_dead()
        ready = service.wait_ready()
        if first:
            for one in [*self._clients, self._admin]:
                one.start()
        if ready:
            self._use(service, life)
        self._count(service)

    def _start_dead(self) -> None:
        """Services that ended in an earlier life are there again, without a plan."""
        for service in self._services:
            if not service.is_alive():
                service.start()

    def _must_be_ready(self, service: Service) -> None:
        if not service.wait_ready():
            raise Violation(f"a service without a plan ended by itself; see {service.log}")

    def _use(self, service: Service, life: Life) -> None:
        """Traffic until it dies, or has lived long enough."""
        deadline = time.monotonic() + LIFE_SECONDS
        if not life.deadly:
            deadline = time.monotonic() + self._random.uniform(0.05, 0.4) + 0.05 * life.steps
            if not self._profile.everysec and self._random.random() < 0.5:
                time.sleep(self._random.uniform(0.02, 0.2))
                self._kill_redis("SIGKILL of Redis")
        losses = self._losses
        if losses and losses.may_lose() and ("doubt" in life.needs or self._random.random() < 0.5):
            self._lose(losses)
        if "stop" in life.needs:
            time.sleep(self._random.uniform(0.05, 0.2))
            service.signal(signal.SIGTERM)
        while not service.wait_dead(0.1) and time.monotonic() < deadline:
            self._arm_proxy()
            for need in life.needs & OPERATION_OF.keys():
                if self._admin.wanted.empty():
                    self._admin.wanted.put(OPERATION_OF[need])
            if "checkpoint" in life.needs:
                pause(self._gate, self._clients)
                service.wait_dead(2.5 * IDLE_SECONDS)
                self._gate.open()

    def _kill_redis(self, told: str) -> None:
        if self._redis is not None:
            self._redis.kill()
            self.outcome.crashes[told] += 1

    def _lose(self, losses: Losses) -> None:
        time.sleep(self._random.uniform(0.1, 0.4))
        pause(self._gate, self._clients)
        losses.lose(self._services)
        self._journal.era += 1
        self.outcome.crashes["Redis loses the end of its log"] += 1
        self._gate.open()

    def _arm_proxy(self) -> None:
        """Cut somewhere in the next few thousand bytes; now and then Redis dies of it."""
        if self._proxy is None or self._proxy.is_armed():
            return
        direction = self._random.choice((REQUEST, REPLY))
        deadly = self._random.random() < 0.3
        killed = partial(self._kill_redis, "SIGKILL of Redis in a cut") if deadly else None
        self._proxy.cut_after(self._random.randrange(1, 20000), direction, killed)

    def _count(self, service: Service) -> None:
        """End what did not end by itself, and note what ended."""
        killed = service.is_alive()
        if killed:
            service.kill()
        taken = service.take_reached()
        for step in taken:
            point, _, action, *_ = step.split()
            counted = self.outcome.crashes if action in DEADLY else self.outcome.trouble
            counted[f"{point} {action}"] += 1
        if killed:
            self.outcome.crashes["SIGKILL of the service"] += 1
        if self._proxy is not None:
            self.outcome.trouble.update(self._proxy.take_cuts())

    def _damage_a_page(self) -> None:
        """Flip a byte in a page of the newest manifest, if that wrote one."""
        assert self._redis is not None
        self._redis.wait_answers()
        with redis.Redis(unix_socket_path=str(self._redis.socket)) as client:
            newest = client.hget("{ctr:default}:meta", "manifest")
            for key in client.scan_iter(f"{{ctr:default}}:page:{(newest or b'-').decode()}:*"):
                page = bytearray(client.get(key) or b"")
                page[self._random.randrange(len(page))] ^= 1 << self._random.randrange(8)
                client.setrange(key, 0, bytes(page))
                self._damaged.add(key.decode())
                return

    def _look_at_kept(self) -> None:
        if self._redis is None:
            return
        self._redis.wait_answers()
        with (
            suppress(redis.RedisError, OSError),  # it dies with another service
            redis.Redis(unix_socket_path=str(self._redis.socket)) as client,
        ):
            kept.look(client, self._journal, self._damaged)

    def _epoch(self) -> int | None:
        """Of the log, from Redis or its file; None while nobody answers. What a service says is not
        asked: it may be behind."""
        try:
            if self._redis is None:
                if not self._services[0].is_ready():  # then its Redis has loaded its file
                    return None
                return history.logs(self._append_only_file())["default"][-1][-1].epoch
            with redis.Redis(unix_socket_path=str(self._redis.socket)) as client:
                epoch = client.hget("{ctr:default}:meta", "epoch")
                return None if epoch is None else int(epoch)
        except (OSError, redis.RedisError, HarnessError):
            return None

    # Quiet

    def _served(self) -> dict[str, list[dict[str, Any]]]:
        """/stats of every model from every service, and from a cold start of the first."""
        served: dict[str, list[dict[str, Any]]] = {}
        heads = {model: self._head(model) for model in ("default", *MODELS)}
        for number, service in enumerate(self._services):
            self._ask(service, f"service {number}", heads, served)
        status, told = self._services[0].request("POST", "/admin/snapshots", {"name": "final"})
        if status != 201:
            raise Violation(f"the last snapshot cannot be taken: {status} {told}")
        self._services[0].kill()
        self._services[0].start()
        self._must_be_ready(self._services[0])
        self._ask(self._services[0], "a cold start", heads, served)
        return served

    def _head(self, model: str) -> str:
        """The furthest position of a model that any service has; "" if it is nowhere."""
        positions = [
            tuple(map(int, told["position"].split("-")))
            for service in self._services
            for status, told in [service.request("GET", f"/models/{model}/stats")]
            if status == 200
        ]
        return "{}-{}".format(*max(positions)) if positions else ""

    def _ask(
        self,
        service: Service,
        who: str,
        heads: dict[str, str],
        served: dict[str, list[dict[str, Any]]],
    ) -> None:
        for model, head in heads.items():
            path = f"/models/{model}/predict?min_position={head}"
            if head:
                service.request("POST", path, {"features": {"ad": "a1"}})
            status, told = service.request("GET", f"/models/{model}/stats")
            if status == 200:
                served.setdefault(model, []).append({**told, "who": who})
            elif status != 404:
                raise Violation(f"/models/{model}/stats of {who} answers {status}: {told}")

    def _end(self) -> None:
        for service in self._services:
            service.stop()
        if self._redis is not None:
            self._redis.close()

    def _append_only_file(self) -> Path:
        if self._redis is not None:
            return self._redis.append_only_file()
        found = list((self.directory / "data0" / "appendonlydir").glob("*.incr.aof"))
        if len(found) != 1:
            raise HarnessError(f"{len(found)} append-only files")
        return found[0]

    def _compare_file(self, one: Judge) -> None:
        """The exported snapshot's table, byte for byte."""
        with (self.directory / "snapshots" / "default" / "final.cfs").open("rb") as file:
            _, model = read_snapshot(file)
        size = model.table.page_bytes
        pages = {i: bytes(page) for i, page in one.state.fold.pages().items()}
        for index in range(model.table.page_count):
            raw = model.table.raw[index * size : (index + 1) * size].tobytes()
            if raw != pages.get(index, bytes(size)):
                self.outcome.verdict.violations.append(
                    f"page {index} of the exported snapshot is not the fold's"
                )

    def _clean_up(self) -> None:
        self._gate.finish_by = 0.0
        self._gate.open()
        for service in self._services:
            with suppress(OSError):
                service.kill()
        if self._proxy is not None:
            self._proxy.close()
        if self._redis is not None:
            self._redis.close()
        if self._losses is not None:
            self.outcome.noticed = self._losses.noticed
        if self.outcome.verdict.violations:
            self.outcome.directory = str(self.directory)
        else:
            remove(self.directory)
