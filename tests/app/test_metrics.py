"""/metrics as Prometheus reads it: parsed by the client library's own parser, with sums that add up
however many workers there are, and every metric in docs/metrics.md."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.app.http_service import running
from tests.app.test_server import ONE, Server, serving
from tests.app.test_workers import _ready_count, _until, _workers_of

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every sample by name and labels; a second one with the same is an error."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


def total(found: Samples, name: str, **labels: str) -> float:
    wanted = labels.items()
    return sum(v for (n, of), v in found.items() if n == name and wanted <= dict(of).items())


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric in the page."""
    row = re.compile(r"^\| (clickfold_\w+) \| (\w+) \|([\w, ]*)\|", re.MULTILINE)
    rows = row.findall(PAGE.read_text())
    return {
        name: (kind, {one for one in labels.strip().split(", ") if one})
        for name, kind, labels in rows
    }


async def test_every_metric_is_documented(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        await service.client.post("/learn", json=ONE)
        text = (await service.client.get("/metrics")).text
    families = {
        f.name + ("_total" if f.type == "counter" else ""): f
        for f in text_string_to_metric_families(text)
    }
    page = documented()
    assert set(families) == set(page)
    for name, family in families.items():
        kind, labels = page[name]
        assert family.type == kind, name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == labels, name


async def test_the_models_figures_are_those_of_stats(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        examples = [{"label": i % 2, "features": {"a": str(i % 5)}} for i in range(400)]
        await service.client.post("/learn", json={"examples": examples})
        found = samples((await service.client.get("/metrics")).text)
        stats = (await service.client.get("/stats")).json()
        for name in ("log_loss", "auc", "normalized_entropy", "calibration", "mean_prediction"):
            assert value(found, f"clickfold_{name}", model="default") == stats[name]
            shown = value(found, f"clickfold_window_{name}", model="default")
            assert shown == stats["window"][name]
        of = {"model": "default", "replica": "0"}
        assert value(found, "clickfold_replica_live", **of) == 1
        assert value(found, "clickfold_durability_weak", **of) == 0
        assert value(found, "clickfold_can_learn", **of) == 1


WORKERS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, "--workers", str(WORKERS)) as server:
        _until(server, lambda: _ready_count(server) == WORKERS, "all are ready")
        yield server
        assert server.stop() == 0


def ask(server: Server, learns: int, predicts: int) -> None:
    """So many requests, each on a connection of its own: any worker may get it."""
    for path, count in (("/learn", learns), ("/predict", predicts)):
        for _ in range(count):
            reply = httpx2.post(server.url + path, json=ONE, timeout=20, trust_env=False)
            assert reply.status_code == 200


def answered(found: Samples, route: str) -> float:
    return total(found, "clickfold_http_requests_total", route=route, status="200")


def scraped_until(server: Server, learns: int, predicts: int) -> Samples:
    """Scrapes, none of which shows less than the one before, until all requests are in it."""
    last, deadline = (0.0, 0.0), time.monotonic() + 20
    while True:
        found = samples(server.get("/metrics").text)
        now = answered(found, "/learn"), answered(found, "/predict")
        assert now[0] >= last[0]
        assert now[1] >= last[1]
        assert now[0] <= learns
        assert now[1] <= predicts
        if now == (learns, predicts):
            return found
        last = now
        assert time.monotonic() < deadline, now
        time.sleep(0.1)


def check_sums(found: Samples, learns: int, predicts: int, workers: int) -> None:
    seconds = "clickfold_http_request_seconds"
    for route, count in (("/learn", learns), ("/predict", predicts)):
        assert answered(found, route) == count
        assert value(found, f"{seconds}_count", route=route) == count
        buckets = [v for (n, of), v in found.items()
                   if n == f"{seconds}_bucket" and dict(of)["route"] == route]  # fmt: skip
        assert buckets == sorted(buckets)
        assert buckets[-1] == count
    assert value(found, "clickfold_examples_total", model="default") == learns
    live = {dict(of)["replica"] for (n, of), v in found.items()
            if n == "clickfold_replica_live" and v == 1}  # fmt: skip
    assert live == {str(number) for number in range(workers)}


async def test_sums_of_one_process(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        for path in ["/learn"] * 6 + ["/predict"] * 24:
            assert (await service.client.post(path, json=ONE)).status_code == 200
        check_sums(samples((await service.client.get("/metrics")).text), 6, 24, 1)


def test_sums_of_several_workers_add_up(server: Server) -> None:
    ask(server, 6, 24)
    check_sums(scraped_until(server, 6, 24), 6, 24, WORKERS)
    os.kill(min(_workers_of(server)), signal.SIGKILL)
    _until(server, lambda: _ready_count(server) == WORKERS + 1, "it is replaced")
    ask(server, 1, 9)
    check_sums(scraped_until(server, 7, 33), 7, 33, WORKERS)
