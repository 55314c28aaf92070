"""The page in a browser, against a server that learns: what it shows is what the service says."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from app.cli.demo_log import generate
from tests.app.test_server import Server, serving
from tests.browser.conftest import Learner, Watched, learning, opened

HIDE = """(hidden) => {
  hiddenByTest = hidden;
  document.dispatchEvent(new Event("visibilitychange"));
}"""
MARKUP = "<script>window.pwned=1</script>"


def stats(server: Server) -> dict[str, Any]:
    """What /stats says now."""
    found: dict[str, Any] = server.get("/stats").json()
    return found


def fact(watched: Watched, name: str) -> str:
    """A value of the health view."""
    entry = watched.page.locator("#health .facts div").filter(
        has=watched.page.get_by_text(name, exact=True)
    )
    return entry.locator("dd").inner_text()


def until_position(watched: Watched, position: str) -> None:
    """Wait until the page shows the position."""
    expect(watched.page.locator("#health")).to_contain_text(position)


def enough(server: Server, examples: int) -> None:
    """Have the server learn so many of the demo's log."""
    log = [example for example, _ in generate(2, examples)]
    Learner(server.url).learn(log)


def fill_the_window(server: Server) -> None:
    """More examples than the window holds: its figures are no longer those of the whole."""
    two = b'{"label":0,"features":{}},{"label":1,"features":{}}'
    body = b'{"examples":[' + b",".join([two] * 5000) + b"]}"
    headers = {"content-type": "application/json"}
    with httpx2.Client(base_url=server.url, headers=headers, trust_env=False) as client:
        for _ in range(10):
            reply = client.post("/learn?predictions=false", content=body, timeout=60)
            assert reply.status_code == 200, reply.text


def test_figures_are_those_of_stats_and_curves_move(browser: Browser, server: Server) -> None:
    enough(server, 2000)
    fill_the_window(server)
    with opened(browser, server.url) as watched:
        page = watched.page
        with learning(server.url):
            page.wait_for_selector("#learning canvas")
            first = page.locator("#learning .chart").get_attribute("aria-label")
            page.wait_for_function(
                "(first) => document.querySelector('#learning .chart').ariaLabel !== first",
                arg=first,
            )
        now = stats(server)
        until_position(watched, now["position"])
        assert fact(watched, "examples") == f"{now['examples']:,}"
        page.get_by_role("button", name="Digests now").click()
        assert fact(watched, "state digest") == now["state_digest"]
        window = now["window"]
        answers = page.locator("#answers .figure").all_inner_texts()
        assert answers[0] == f"{window['normalized_entropy']:.3f}"
        assert answers[1] == f"{window['calibration']:.3f}"
        label = page.locator("#learning .chart").get_attribute("aria-label") or ""
        shown = [float(number) for number in re.findall(r"\d\.\d{4}", label)]
        expected = [window["log_loss"], now["log_loss"], now["base_rate_log_loss"]]
        assert len({round(figure, 4) for figure in expected}) == 3
        assert shown == pytest.approx(expected, abs=6e-5)
        assert watched.complaints == []


def test_a_restore_asks_first(browser: Browser, server: Server) -> None:
    enough(server, 100)
    with opened(browser, server.url) as watched:
        page = watched.page
        page.get_by_label("Name of the snapshot").fill("one")
        page.get_by_role("button", name="Take a snapshot").click()
        expect(page.locator("#snapshots .said")).to_contain_text("Taken: one")
        taken = stats(server)
        enough(server, 100)
        learned = stats(server)
        page.get_by_role("button", name="Restore one").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Every replica switches")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert stats(server)["position"] == learned["position"]
        page.get_by_role("button", name="Restore one").click()
        dialog.get_by_role("button", name="Restore").click()
        expect(page.locator("#snapshots .said")).to_contain_text("Restored: one")
        restored = stats(server)
        assert restored["digest"] == taken["digest"] != learned["digest"]
        until_position(watched, restored["position"])
        assert watched.complaints == []


def test_names_that_look_like_markup_are_text(browser: Browser, server: Server) -> None:
    model = f"{server.url}/models/markup"
    config = {"table_bits": 10, "slices": [MARKUP]}
    assert httpx2.put(model, json=config, trust_env=False).status_code == 201
    Learner(model).learn([{"label": 1, "features": {MARKUP: "<img src=x onerror=pwn()>"}}])
    with opened(browser, server.url, "/#model=markup") as watched:
        page = watched.page
        page.get_by_label("An example").fill(json.dumps({MARKUP: "<b>"}))
        page.get_by_role("button", name="Explain", exact=True).click()
        expect(page.locator("#explain tbody")).to_contain_text(f"{MARKUP} = <b>")
        assert page.locator("#explain tbody script, #explain tbody b").count() == 0
        page.locator("#slices").scroll_into_view_if_needed()
        expect(page.locator("#slices select").first).to_contain_text(MARKUP)
        expect(page.locator("#slices tbody")).to_contain_text("<img src=x")
        page.locator("#features").scroll_into_view_if_needed()
        expect(page.locator("#features tbody")).to_contain_text(f"{MARKUP}=<img")
        assert page.locator("main script, main tbody img").count() == 0
        assert page.evaluate("window.pwned") is None
        assert watched.complaints == []


def test_what_is_offered_to_be_saved(browser: Browser, server: Server, downloads: Path) -> None:
    with opened(browser, server.url) as watched:
        page = watched.page
        page.wait_for_selector("#learning canvas")
        for kind, begins in (("CSV", b"examples,"), ("PNG", b"\x89PNG")):
            with page.expect_download() as saved:
                page.get_by_role("button", name=f"Learning as {kind}").click()
            file = downloads / kind
            saved.value.save_as(file)
            assert file.read_bytes().startswith(begins)
        with page.context.expect_page() as twin:
            page.get_by_role("link", name="Health as JSON").click()
        twin.value.wait_for_load_state()
        assert twin.value.url.endswith("/stats")
        assert watched.complaints == []


def until_streams(server: Server, wanted: int) -> None:
    """Wait until so many streams are open, the one that asks among them."""
    url = f"{server.url}/stats/stream?seconds=10"
    with httpx2.stream("GET", url, trust_env=False, timeout=10) as reply:
        for line in reply.iter_lines():
            if json.loads(line)["streams"] == wanted:
                return
    raise AssertionError(f"there are never {wanted} streams")


def test_a_hidden_page_reads_no_stream(browser: Browser, server: Server) -> None:
    with opened(browser, server.url) as watched:
        state = watched.page.locator("#state")
        expect(state).to_have_text("live")
        until_streams(server, 2)
        watched.page.evaluate(HIDE, True)
        expect(state).to_have_text("paused")
        until_streams(server, 1)
        watched.page.evaluate(HIDE, False)
        expect(state).to_have_text("live")
        assert watched.complaints == []


AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
SERIOUS = """() => axe.run(document, {resultTypes: ["violations"]}).then((found) =>
  found.violations.filter((v) => v.impact === "serious" || v.impact === "critical")
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`))"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_no_serious_fault_of_accessibility(
    browser: Browser, server: Server, scheme: str, width: int
) -> None:
    enough(server, 100)
    size = {"width": width, "height": 900}
    options: dict[str, Any] = {"color_scheme": scheme, "viewport": size, "bypass_csp": True}
    with opened(browser, server.url, **options) as watched:
        watched.page.wait_for_selector("#learning canvas")
        watched.page.get_by_role("button", name="Explain", exact=True).click()
        watched.page.wait_for_selector("#explain tbody")
        for view in ("#features", "#table", "#slices", "#models"):
            watched.page.locator(view).scroll_into_view_if_needed()
            watched.page.wait_for_selector(f"{view} :is(tbody, dd)")
        watched.page.evaluate(AXE)
        assert watched.page.evaluate(SERIOUS) == []


MANY = """async () => {
  const { Series } = await import("/assets/series.js");
  const series = new Series(["x", "y"]);
  for (let x = 0; x < 20000; x++) series.push({ x, y: 2 * x });
  const [xs, ys] = series.columns("x", "y");
  return { points: xs.length, ends: [xs[0], xs.at(-1)], ok: ys.every((y, i) => y === 2 * xs[i]) };
}"""
FOCUS = """async () => {
  const { el, fill } = await import("/assets/dom.js");
  const place = document.querySelector("#answers");
  const buttons = () => ["a", "b"].map((name) => el("button", { "aria-label": name }));
  const again = () => fill(place, buttons());
  again();
  place.lastChild.focus();
  again();
  return document.activeElement === place.lastChild;
}"""
CSV = """async () => (await import("/assets/save.js")).csv(
  [{ name: '=HYPERLINK("x")', value: -1.5 }, { name: 'a,"b"', value: null }])"""


def test_modules(browser: Browser, server: Server) -> None:
    with opened(browser, server.url) as watched:
        kept = watched.page.evaluate(MANY)
        assert kept["points"] <= 720
        assert kept["ends"] == [0, 19999]
        assert kept["ok"]
        written = 'name,value\r\n"\'=HYPERLINK(""x"")",-1.5\r\n"a,""b""",\r\n'
        assert watched.page.evaluate(CSV) == written
        assert watched.page.evaluate(FOCUS)


KEYS = "see read reader-key-0123456789; boss admin admin-key-0123456789"


def test_a_key_is_asked_for_and_an_open_page_does_not_hinder_the_end(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFOLD_KEYS", KEYS)
    with serving(tmp_path) as server:
        server.wait()
        url, reader = server.url, {"authorization": "Bearer reader-key-0123456789"}
        assert httpx2.get(url, trust_env=False).status_code == 401
        shell = httpx2.get(url, headers={"accept": "text/html"}, trust_env=False)
        assert (shell.status_code, "<td>" in shell.text) == (401, False)
        listed = httpx2.get(url, headers=reader, trust_env=False)
        assert (listed.status_code, "<td>default</td>" in listed.text) == (200, True)
        with opened(browser, url) as watched:
            page = watched.page
            page.get_by_label("Key with the scope read").fill("reader-key-0123456789")
            page.get_by_role("button", name="Use it").click()
            expect(page.locator("#state")).to_have_text("live")
            stored = "() => [Object.values(sessionStorage), Object.values(localStorage)]"
            assert page.evaluate(stored) == [["reader-key-0123456789"], []]
            page.get_by_role("button", name="Take a snapshot").click()
            page.get_by_label("Key with the scope admin").fill("admin-key-0123456789")
            page.get_by_role("button", name="Use it").click()
            expect(page.locator("#snapshots .said")).to_contain_text("Taken:")
            assert page.evaluate(stored) == [["reader-key-0123456789"], []]
            assert server.stop() == 0
            expect(page.locator("#state")).to_contain_text("trying again")
