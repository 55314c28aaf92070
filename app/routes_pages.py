"""Pages for people: /docs, /redoc, and the catalogue of problems; all assets are local.

FastAPI's own pages fetch scripts from a CDN: blank without a network, and a third party's code with
this service's origin. The files of the package fastapi_offline are served from here instead, by
name from a fixed list, beside the examples that are no text; its own wrapper is not used because it
mounts a whole folder, which the route table could not see. A Content-Security-Policy keeps the
scripts from reaching out as well (ReDoc would fetch a logo).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import AsyncIterator
from functools import cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse, Response, StreamingResponse

from app.example_bodies import EXAMPLE_FILES, example_body
from app.openapi import openapi_document
from app.problems import CATALOGUE, Problem
from app.replies import json_reply

router = APIRouter(include_in_schema=False)

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
    "favicon.png": "image/png",
}
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'"
)
PAGE_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}
_TITLE = "Clickfold"
PIECE_BYTES = 64 << 10


@cache
def _asset(file: str) -> bytes:
    return importlib.resources.files("fastapi_offline").joinpath("static", file).read_bytes()


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return json_reply(openapi_document(request.app))


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Swagger UI."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title=f"{_TITLE}: API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url="/docs/assets/favicon.png",
        swagger_ui_parameters=request.app.swagger_ui_parameters,
    )
    return HTMLResponse(page.body, headers=PAGE_HEADERS)


@router.get("/redoc")
async def redoc() -> Response:
    """ReDoc."""
    page = get_redoc_html(
        openapi_url="/openapi.json",
        title=f"{_TITLE}: API",
        redoc_js_url="/docs/assets/redoc.standalone.js",
        redoc_favicon_url="/docs/assets/favicon.png",
        with_google_fonts=False,
    )
    return HTMLResponse(page.body, headers=PAGE_HEADERS)


@router.get("/docs/assets/{file}")
async def asset(file: Annotated[str, Path()]) -> Response:
    """A file of the two pages; they never change within a version, so a browser may keep them."""
    if file in EXAMPLE_FILES:
        return Response(example_body(file), media_type=EXAMPLE_FILES[file])
    media_type = ASSETS.get(file)
    if media_type is None:
        raise Problem("not-found", "there is no such file")
    content = _asset(file)
    headers = {"cache-control": "private, max-age=86400", "content-length": str(len(content))}
    return StreamingResponse(_pieces(content), media_type=media_type, headers=headers)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """One after the other as they are taken: whoever does not read costs a piece and no page."""
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


@router.get("/problems")
async def list_problems() -> Response:
    """Every type of problem that has a row in the catalogue."""
    return json_reply({"problems": [_catalogued(slug) for slug in CATALOGUE]})


@router.get("/problems/{slug}")
async def describe_problem(slug: Annotated[str, Path()]) -> Response:
    """What a problem's `type` refers to."""
    if slug not in CATALOGUE:
        raise Problem("not-found", "there is no such type of problem")
    return json_reply(_catalogued(slug))


def _catalogued(slug: str) -> dict[str, Any]:
    kind = CATALOGUE[slug]
    return {
        "type": f"/problems/{slug}",
        "status": kind.status,
        "title": kind.title,
        "advice": kind.advice,
    }
