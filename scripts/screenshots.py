"""Pictures of the page for docs/: desktop and phone, light and dark, of a demo that is learning.

    python -m scripts.screenshots [--examples 300000] [--out docs/page]

The demo's service learns its click log (a model beside it learns the paper's way), a snapshot is
taken and an example explained, and a headless Chromium takes the pictures. They are reduced to 128
colours: no picture may have more than PICTURE_BYTES.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from app.cli.demo import own_service
from app.cli.demo_log import generate

PICTURE_BYTES = 200 << 10
BATCH = 1000
LIVE_SECONDS = 12
VIEWS = {
    "desktop-light": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "light"},
    "desktop-dark": {"viewport": {"width": 1440, "height": 900}, "color_scheme": "dark"},
    "phone-light": {"viewport": {"width": 390, "height": 844}, "color_scheme": "light"},
    "phone-dark": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"},
}
WHOLE = {"desktop-dark", "phone-dark"}  # these are taken from top to bottom
EXAMPLE = '{"user": "u1", "ad": "a1", "site": "s1", "slot": "p1", "device": "d0", "hour": "20"}'
PAPERS = {"optimizer": {"learning_rate": 0.1, "beta": 1.0}, "slices": ["device", "slot", "hour"]}


def batches(examples: int) -> Iterator[list[dict[str, Any]]]:
    """The demo's log."""
    log = (example for example, _ in generate(1, examples))
    while batch := list(islice(log, BATCH)):
        yield batch


class Teacher:
    """Sends the log to the two models."""

    def __init__(self, url: str, examples: int) -> None:
        self._client = httpx2.Client(base_url=url, timeout=60, trust_env=False)
        self._batches = batches(examples)
        self._client.put("/models/papers", json=PAPERS).raise_for_status()
        self._total = examples

    def learn(self, count: int) -> None:
        """So many of the examples that are left."""
        for batch in islice(self._batches, count // BATCH):
            for path in ("/learn", "/models/papers/learn?predictions=false"):
                self._client.post(path, json={"examples": batch}).raise_for_status()

    def snapshot(self, name: str) -> None:
        """Take one."""
        self._client.post("/admin/snapshots", json={"name": name}).raise_for_status()


def picture(browser: Browser, url: str, teacher: Teacher, name: str) -> bytes:
    """One picture, after the page has been live for a while."""
    context = browser.new_context(**VIEWS[name], device_scale_factor=1)
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("#learning canvas")
    page.get_by_label("An example").fill(EXAMPLE)
    page.get_by_role("button", name="Explain", exact=True).click()
    for _ in range(LIVE_SECONDS):
        teacher.learn(BATCH)
        page.wait_for_timeout(900)
    for view in ("#slices", "#features", "#table", "#models", "#answers"):  # draws what is seen
        page.locator(view).scroll_into_view_if_needed()
        page.wait_for_timeout(700)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(700)
    taken = page.screenshot(full_page=name in WHOLE)
    context.close()
    return taken


def reduced(taken: bytes) -> bytes:
    """The same with 128 colours."""
    image = Image.open(BytesIO(taken)).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    content = BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--examples", type=int, default=300_000)
    parser.add_argument("--out", type=Path, default=Path("docs/page"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CLICKFOLD_CHROMIUM") or shutil.which("chromium")
    with own_service(None, None) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        teacher = Teacher(url, given.examples)
        teacher.learn(given.examples // 2)
        teacher.snapshot("before-the-change")
        teacher.learn(given.examples // 2 - len(VIEWS) * LIVE_SECONDS * BATCH)
        for name in VIEWS:
            content = reduced(picture(browser, url, teacher, name))
            assert len(content) <= PICTURE_BYTES, (name, len(content))
            (given.out / f"{name}.png").write_bytes(content)
            print(f"{name}: {len(content) // 1024} KiB", file=sys.stderr)
        browser.close()


if __name__ == "__main__":
    main()
