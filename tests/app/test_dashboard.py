"""The dashboard's page and files, as they are served: without a browser."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from app.page_files import ASSETS
from tests.app.http_service import raw_request, running

KEYS = "reader read reader-key-0123456789; asker predict asker-key-0123456789"
READER = {"authorization": "Bearer reader-key-0123456789"}
ASKER = {"authorization": "Bearer asker-key-0123456789"}
HTML = {"accept": "text/html,application/xhtml+xml"}
IMPORTED = re.compile(r'(?:from|import) "\./([^"]+)"')


def _static() -> Path:
    return Path(str(resources.files("app").joinpath("static")))


async def test_files_are_a_fixed_list_and_all_of_them_are_used(
    redis_url: str, tmp_path: Path
) -> None:
    places = {place for place, _ in ASSETS.values()}
    there = {p.relative_to(_static()).as_posix() for p in _static().rglob("*") if p.is_file()}
    assert there - places == {"index.html", "example.arrows"}
    async with running(redis_url, tmp_path) as service:
        page = (await service.client.get("/")).text
        reached, waiting = set(), set(re.findall(r"/assets/([^\"]+)", page))
        while waiting:
            file = waiting.pop()
            reply = await service.client.get(f"/assets/{file}")
            assert reply.status_code == 200, file
            assert reply.headers["content-type"].startswith(ASSETS[file][1])
            reached.add(file)
            if file != "uPlot.esm.js":
                waiting |= set(IMPORTED.findall(reply.text)) - reached
        assert set(ASSETS) - reached == {"LICENSE-uPlot"}
        for file in ("index.html", "__init__.py", "none.js"):
            assert (await service.client.get(f"/assets/{file}")).status_code == 404


async def test_a_browser_is_told_that_it_has_a_file(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path) as service:
        first = await service.client.get("/assets/main.js")
        known = {"if-none-match": first.headers["etag"]}
        again = await service.client.get("/assets/main.js", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        other = await service.client.get("/assets/page.css", headers=known)
        assert other.status_code == 200


async def test_without_a_key_a_browser_gets_the_page_and_no_data(
    redis_url: str, tmp_path: Path
) -> None:
    async with running(redis_url, tmp_path, keys=KEYS) as service:
        await service.hub.get("default")
        app = service.app
        nobody = await raw_request(app, "GET", "/", headers=HTML)
        assert nobody.status == 401
        assert nobody.headers["www-authenticate"].startswith("Bearer")
        assert nobody.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in nobody.headers["content-security-policy"]
        assert b"<td>" not in nobody.body
        assert b'data-key="needed"' in nobody.body
        wrong = await raw_request(app, "GET", "/", headers={**HTML, "authorization": "Bearer x"})
        assert (wrong.status, wrong.body) == (401, nobody.body)
        head = await raw_request(app, "HEAD", "/", headers=HTML)
        assert (head.status, head.body) == (401, b"")
        other = await raw_request(app, "GET", "/stats", headers=HTML)
        assert other.headers["content-type"] == "application/problem+json"
        program = await raw_request(app, "GET", "/", headers={"accept": "*/*"})
        assert program.headers["content-type"] == "application/problem+json"
        lacking = await raw_request(app, "GET", "/", headers={**HTML, **ASKER})
        assert lacking.status == 403
        reader = await raw_request(app, "GET", "/", headers={**HTML, **READER})
        assert (reader.status, b"<td>default</td>" in reader.body) == (200, True)
        assert b'data-key="given"' in reader.body


def test_modules_write_no_markup_and_no_inline_style() -> None:
    for path in _static().glob("*.js"):
        text = path.read_text()
        for banned in (".innerHTML", ".outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert banned not in text, f"{path.name}: {banned}"
        assert text.startswith(("//", "/*")), f"{path.name} does not begin with its design"
    page = (_static() / "index.html").read_text()
    assert not re.search(r"\son\w+=|\sstyle=|<style", page)
