"""What answers while the service starts: the probes truthfully, everything else with "not yet".

The socket listens before kernels are compiled and data are loaded, which can take a minute on a
first start. A poller, a load balancer or a person then sees what is going on instead of a refused
connection:

    GET /livez      200
    GET /startupz   503  {"started": false, "doing": "compiling kernels", "seconds": 12.4}
    GET /readyz     503  the same, with "ready": false
    anything else   503  problem `starting`, with Retry-After; nothing was learned

`Switch` is the ASGI application that uvicorn is given; it hands over to the real one as soon as
there is one. Nothing here imports what is slow to import.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from app.connection_guard import ConnectionGuard
from app.log_lines import Format, json_line, one_line

if TYPE_CHECKING:
    from app.direct_path import DirectPath

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class Progress:
    """Says what is being done: to the terminal as lines, to pollers as a document."""

    def __init__(self, prefix: str = "", log_format: Format = "text") -> None:
        self._prefix = prefix
        self.log_format = log_format
        self._started = time.monotonic()
        self.doing = "starting"

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    def begin(self, doing: str) -> None:
        """What is being done from now on; shown with the seconds since the start."""
        self.doing = doing
        self.say(f"{doing} ...")

    def say(self, line: str) -> None:
        """A line on standard error, with the seconds since the start."""
        line = self._prefix + line
        if self.log_format == "json":
            shown = json_line(time.time(), "info", "clickfold", line)
        else:
            shown = f"clickfold {self.seconds:6.1f} s  {one_line(line)}"
        print(shown, file=sys.stderr, flush=True)

    def document(self) -> dict[str, Any]:
        """For pollers."""
        return {"doing": self.doing, "seconds": round(self.seconds, 1)}


class Switch:
    """An ASGI application that answers by itself until `application` is set."""

    def __init__(self, progress: Progress, guard: ConnectionGuard | None = None) -> None:
        self._progress = progress
        self.guard = guard if guard is not None else ConnectionGuard()
        self.application: Application | None = None
        self.direct: DirectPath | None = None  # what the protocol may answer by itself

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Hand over, or say that it is too early."""
        if self.application is not None:
            await self.application(scope, receive, send)
        elif scope["type"] == "http":
            status, content_type, document = self._early(scope["path"])
            headers = [
                (b"content-type", content_type),
                (b"cache-control", b"no-store"),
                (b"x-content-type-options", b"nosniff"),
            ]
            if status != 200:
                headers.append((b"retry-after", b"1"))
            await send({"type": "http.response.start", "status": status, "headers": headers})
            body = b"" if scope["method"] == "HEAD" else json.dumps(document).encode()
            await send({"type": "http.response.body", "body": body})

    def _early(self, path: str) -> tuple[int, bytes, dict[str, Any]]:
        if path == "/livez":
            return 200, b"application/json", {"live": True}
        doing = self._progress.document()
        if path == "/startupz":
            return 503, b"application/json", {"started": False, **doing}
        if path == "/readyz":
            return 503, b"application/json", {"ready": False, "learn": False, **doing}
        problem = {
            "type": "/problems/starting",
            "title": "The service is starting",
            "status": 503,
            "detail": f"{self._progress.doing}; /readyz tells when it is done",
            "outcome": "not_learned",
        }
        return 503, b"application/problem+json", problem
