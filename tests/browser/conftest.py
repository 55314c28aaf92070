"""A headless Chromium and a real server that learns while the page looks at it.

The browser is Debian's package `chromium` (or CLICKFOLD_CHROMIUM names another one): playwright
only drives it, and downloads nothing. Where there is none, these tests skip and say so. One browser
and one server serve all tests of a module, since each takes seconds to start.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from app.cli.demo_log import generate
from tests.app.test_server import Server, serving

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 30_000
BATCH = 200
CONFIG = '{"table_bits": 12, "deduplication_window": 4096, "slices": ["device"]}'
# Everything the page's policy refuses, and every error, becomes a line of the console.
WATCH = """
addEventListener("securitypolicyviolation", (e) => console.error("policy:", e.violatedDirective));
Object.defineProperty(Document.prototype, "hidden", { get: () => Boolean(window.hiddenByTest) });
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    named = os.environ.get("CLICKFOLD_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this module, ready."""
    with serving(tmp_path_factory.mktemp("browser"), "--config", CONFIG) as started:
        started.wait()
        yield started


@dataclass
class Learner:
    """Sends batches of the demo's log; all of them have been learned when `stop` returns."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    thread: threading.Thread | None = None
    stopping: threading.Event = field(default_factory=threading.Event)

    def learn(self, examples: list[dict[str, Any]]) -> None:
        """One request."""
        body = {"examples": examples}
        reply = httpx2.post(
            f"{self.url}/learn", json=body, headers=self.headers, timeout=30, trust_env=False
        )
        assert reply.status_code == 200, reply.text

    def _run(self) -> None:
        log = generate(1, 400_000)
        while not self.stopping.is_set():
            self.learn([next(log)[0] for _ in range(BATCH)])
            self.stopping.wait(0.05)

    def start(self) -> None:
        """Learn until `stop`."""
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def stop(self) -> None:
        """Return when the last request is answered."""
        self.stopping.set()
        if self.thread is not None:
            self.thread.join()


@contextmanager
def learning(url: str, headers: dict[str, str] | None = None) -> Iterator[Learner]:
    """A learner at work."""
    learner = Learner(url, headers or {})
    learner.start()
    try:
        yield learner
    finally:
        learner.stop()


@dataclass
class Watched:
    """A page, and all that it asked for and complained of."""

    page: Page
    requests: list[str]
    complaints: list[str]

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return self.page.locator(selector).inner_text()


@contextmanager
def opened(browser: Browser, url: str, path: str = "/", **options: Any) -> Iterator[Watched]:
    """The page in a context of its own. Fails when anything was asked of another host."""
    context = browser.new_context(**options)
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(WATCH)
    page = context.new_page()
    watched = Watched(page, [], [])
    page.on("request", lambda request: watched.requests.append(request.url))
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))

    def note(said: ConsoleMessage) -> None:
        if said.type == "error":
            watched.complaints.append(said.text)

    page.on("console", note)
    try:
        page.goto(url + path)
        yield watched
    finally:
        context.close()
    outside = [one for one in watched.requests if not one.startswith((url, "blob:", "data:"))]
    assert not outside


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """A folder for what the page offers to save."""
    return tmp_path
