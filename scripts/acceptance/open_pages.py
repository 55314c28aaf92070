"""What open pages cost: the hot path with 100 of them, and memory after an hour of one.

    python -m scripts.acceptance.open_pages cost [--pages 100] [--pairs 14] [--seconds 1.2]
    python -m scripts.acceptance.open_pages memory [--lines 3600]

cost     Rounds in pairs, without and with the pages, in turn (which is first alternates): a closed
         loop of single predictions, while examples are learned at a constant rate in both. A page
         is what the browser does with every view in sight: the stream, and its documents every 30
         seconds. Figures are requests a second and the service's processor time a request, as
         ratios within a pair: median, least to greatest. Then, without the loop, the processor
         time that the service takes a second (at most 1000 ms are the hot path's), likewise.
memory   The service tells a line every 10 ms in place of every second, and a real browser draws
         them, with all views in sight, while examples are learned. After a warm-up (the page's
         history is full, the allocators have found their size) and again after each quarter of as
         many lines as an hour has: the browser's heap after a collection, its nodes and listeners,
         and the resident memory of service and browser tab.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from app.cli.demo_log import generate
from scripts.acceptance.service import Service
from scripts.benchmarks import load
from scripts.benchmarks.examples import generated, json_posts
from scripts.benchmarks.figures import spread

CONFIG = json.dumps({"table_bits": 18, "slices": ["device", "slot", "C1"]})
# What learning itself fills is full after the warm-up: the rest is the page's doing.
SMALL = json.dumps({"table_bits": 12, "deduplication_window": 4096, "slices": ["device", "slot"]})
DOCUMENTS = (
    "/models", "/stats/reliability", "/stats/slices", "/stats/table", "/stats/features",
)  # fmt: skip
POLL_SECONDS = 30.0
BUSY_SECONDS = 3.0
PARTS = 4
WARM_UP_LINES = 1500
LEARN_PER_SECOND, LEARN_BATCH = 2000, 100
FAST = """
import app.live_stream as live
live.LINE_SECONDS, live.TICK_SECONDS = 0.01, 0.001
from app.cli.main import main
main()
"""
COUNT = """
let seen = 0;
const parse = JSON.parse;
JSON.parse = (text) => { seen += text.includes('"streams":'); return parse(text); };
window.linesSeen = () => seen;
"""


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


async def _page(port: int, number: int, pages: int) -> None:
    """One page: a stream that is read, and documents now and then."""

    async def stream() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stats/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while await reader.read(1 << 16):
            pass

    async def documents() -> None:
        await asyncio.sleep(POLL_SECONDS * number / pages)
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for path in DOCUMENTS:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(size)
            writer.close()
            await asyncio.sleep(POLL_SECONDS)

    await asyncio.gather(stream(), documents())


async def _pages(port: int, pages: int) -> None:
    await asyncio.gather(*(_page(port, number, pages) for number in range(pages)))


class Learner:
    """Learns at a constant rate until told to stop."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/learn"
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        log = generate(1, 10_000_000)
        with httpx2.Client(trust_env=False, timeout=60) as client:
            while not self._stopping.wait(LEARN_BATCH / LEARN_PER_SECOND):
                examples = [next(log)[0] for _ in range(LEARN_BATCH)]
                client.post(self._url, json={"examples": examples}).raise_for_status()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def _opened(service: Service, pages: int) -> Iterator[None]:
    """So many pages, open."""
    if not pages:
        yield
        return
    command = [sys.executable, "-m", "scripts.acceptance.open_pages", "pages"]
    process = subprocess.Popen([*command, str(service.port), str(pages)])
    try:
        deadline = time.monotonic() + 20
        while _streams(service) < pages - 1:  # the line may be a second old
            assert time.monotonic() < deadline, "the pages did not open"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


def _round(service: Service, requests: Path, seconds: float, pages: int) -> dict[str, float]:
    """A closed loop with so many pages open; what it reached."""
    run = [sys.executable, "-m", "scripts.benchmarks.load", str(service.port), "4", str(seconds)]
    with _opened(service, pages):
        began = cpu_seconds(service.process.pid)
        told = json.loads(subprocess.check_output([*run, str(requests)]))
        took = cpu_seconds(service.process.pid) - began
    assert set(told["statuses"]) == {"200"}, told
    return {"per_second": told["per_second"], "cpu": took / told["requests"], "p99": told["p99_ms"]}


def _busy(service: Service, seconds: float, pages: int) -> float:
    """Milliseconds of processor time a second with so many pages open, without the loop."""
    with _opened(service, pages):
        began, started = cpu_seconds(service.process.pid), time.monotonic()
        time.sleep(seconds)
        took = cpu_seconds(service.process.pid) - began
        return 1e3 * took / (time.monotonic() - started)


def _streams(service: Service) -> int:
    """How many streams are open beside the one that asks."""
    lines = service.client.get("/stats/stream?seconds=0.2").text.splitlines()
    return int(json.loads(lines[-1])["streams"]) - 1 if lines else 0


def cost(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Pairs of rounds; the ratios."""
    requests = folder / "requests"
    load.write_requests(requests, json_posts("/predict", generated(500, 1), 1))
    pairs = []
    with Service(folder / "data", "--config", CONFIG) as service, Learner(service.port):
        _round(service, requests, given.seconds, 0)
        for number in range(given.pairs):
            order = (0, given.pages) if number % 2 else (given.pages, 0)
            rounds = {n: _round(service, requests, given.seconds, n) for n in order}
            pairs.append((rounds[0], rounds[given.pages]))
        busy = [[_busy(service, BUSY_SECONDS, n) for n in (0, given.pages)] for _ in range(4)]
    return {
        "busy_ms_without": spread([before for before, _ in busy], 1),
        "busy_ms_of_the_pages": spread([after - before for before, after in busy], 1),
        **_ratios(pairs),
    }


def _ratios(pairs: list[tuple[dict[str, float], dict[str, float]]]) -> dict[str, Any]:
    return {
        name: {
            "ratio": spread([after[name] / before[name] for before, after in pairs], 3),
            "without": statistics.median(before[name] for before, _ in pairs),
            "with": statistics.median(after[name] for _, after in pairs),
        }
        for name in ("per_second", "cpu", "p99")
    }


def memory(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Figures after the warm-up and after an hour's lines."""
    from playwright.sync_api import sync_playwright

    service = Service(folder / "data", "--config", SMALL)
    service._command = [sys.executable, "-c", FAST, *service._command[1:]]
    chromium = os.environ.get("CLICKFOLD_CHROMIUM") or shutil.which("chromium")
    with service, Learner(service.port), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 4000})
        page.add_init_script(COUNT)
        page.goto(f"http://127.0.0.1:{service.port}/")
        session = page.context.new_cdp_session(page)
        found = {}
        for part in range(PARTS + 1):
            lines = WARM_UP_LINES + part * given.lines // PARTS
            page.wait_for_function("(n) => linesSeen() >= n", arg=lines, timeout=900_000)
            found[str(lines)] = {**_browser_figures(session), **_resident(service)}
            print(json.dumps({lines: found[str(lines)]}), file=sys.stderr)
        browser.close()
    return found


def _browser_figures(session: Any) -> dict[str, float]:
    session.send("Performance.enable")
    session.send("Memory.simulatePressureNotification", {"level": "critical"})  # caches go too
    time.sleep(2)
    for _ in range(3):
        session.send("HeapProfiler.collectGarbage")
    told = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    return {
        "heap_mib": told["JSHeapUsedSize"] / 2**20,
        "nodes": told["Nodes"],
        "listeners": told["JSEventListeners"],
    }


def _resident(service: Service) -> dict[str, float]:
    tab = max(_renderers(), key=resident_mib)
    return {
        "service_mib": resident_mib(service.process.pid),
        "tab_mib": resident_mib(tab),
    }


def _renderers() -> list[int]:
    """The browser's processes of tabs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"--type=renderer" in words:
            found.append(int(process.name))
    return found


def main() -> None:
    """Run what was asked for and print the figures."""
    if sys.argv[1:2] == ["pages"]:
        asyncio.run(_pages(int(sys.argv[2]), int(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["cost", "memory"])
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=1.2)
    parser.add_argument("--lines", type=int, default=3600)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clickfold-pages-") as folder:
        run = cost if given.what == "cost" else memory
        print(json.dumps(run(given, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
