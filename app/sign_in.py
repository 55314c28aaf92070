"""What a browser without a key sees at `/`: the page without data, under the status 401.

The contract is kept (`/` has the scope read) and a person still gets further: the page's script
asks for the key and sends it itself. Whoever did not ask for HTML gets the problem document.
"""

from __future__ import annotations

from starlette.types import Scope, Send

from app.page_files import PAGE_HEADERS, shell
from app.problems import Problem
from app.replies import Headers, send_reply
from app.request_body import headers
from app.route_table import Match

_HTML = b"text/html; charset=utf-8"
_UNAUTHORIZED = 401


def wants_sign_in(scope: Scope, match: Match | None, problem: Problem) -> bool:
    """Whether a refused request is a browser's for the dashboard."""
    return (
        match is not None
        and match.route.template == "/"
        and problem.status == _UNAUTHORIZED
        and scope["method"] in ("GET", "HEAD")
        and any(b"text/html" in value for value in headers(scope, b"accept"))
    )


async def send_sign_in(send: Send, problem: Problem) -> int:
    """The page with the problem's status and challenge."""
    extra: Headers = [(name.encode(), value.encode()) for name, value in PAGE_HEADERS.items()]
    await send_reply(send, problem.status, shell(None), _HTML, [*extra, *problem.headers])
    return problem.status
