"""The dashboard at `/`: a page without data in it but the models' list, and its fixed assets.

A browser that goes to `/` cannot send a key. So with keys, who presents none gets status 401 as
everywhere, and, when it asked for HTML, a body that is the same page without the list
(app/sign_in.py): its script then asks a person for the key and sends it with fetch(). The assets
hold no data and need no key. Everything the page shows comes from the JSON routes, which do.
"""

from __future__ import annotations

from html import escape
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import HTMLResponse, Response

from app.dependencies import HubOf, KeyOf
from app.page_files import ASSETS, PAGE_HEADERS, content, entity_tag, shell
from app.problems import Problem
from app.replica import ModelReplica

router = APIRouter(include_in_schema=False)


@router.get("/")
async def index(hub: HubOf, key: KeyOf) -> Response:
    """The models loaded here as they are now; the rest of the page is live."""
    rows = "".join(_row(replica) for replica in hub.loaded() if key.may_use(replica.name))
    return HTMLResponse(shell(rows), headers=PAGE_HEADERS)


@router.get("/assets/{file}")
async def asset(request: Request, file: Annotated[str, Path()]) -> Response:
    """A file of the page. A browser asks again each time, and is told when it has it already."""
    place, media_type = ASSETS.get(file, ("", ""))
    if not place:
        raise Problem("not-found", "there is no such file")
    headers = {"cache-control": "no-cache", "etag": entity_tag(place)}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content(place), media_type=media_type, headers=headers)


def _row(replica: ModelReplica) -> str:
    model = replica.model
    if model is None:
        cells = [replica.name, replica.state, "", "", "", ""]
    else:
        stats = model.stats()
        figures = [_shown(stats.get(name)) for name in ("log_loss", "auc", "calibration")]
        cells = [replica.name, str(model.position), f"{model.examples:,}", *figures]
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _shown(value: object) -> str:
    return f"{value:.5f}" if isinstance(value, float) else "–"
