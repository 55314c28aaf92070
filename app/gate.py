"""The gate: the one piece of middleware, through which every request comes in and goes out.

    request ─► route table ─► Host (without keys) ─► key and scope ─► method ─┬─► /learn, /predict
                                                                             └─► FastAPI's router

Admission is decided here, before routing, on the path alone and from one table: deny by default. A
path that is no route is 404 only for who holds a key, so that nobody without one can map the
service. The two hot routes are answered from here by plain ASGI: FastAPI's own stack (validation,
exit stacks, response models) costs more than a prediction. They are still in the OpenAPI document.

The gate also counts requests by route template, adds the security headers, answers HEAD as GET
without a body, and is the outermost loop of a request: what nobody expected is logged with its
trace and becomes a 500 that says nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.admission import Admission
from app.hot_path import HotPath
from app.key_lines import Key
from app.problems import Problem, send_problem
from app.replies import SECURITY_HEADERS
from app.request_body import ClientGone
from app.request_meter import RequestMeter
from app.request_room import RequestRoom
from app.route_table import MODEL_PREFIX, UNKNOWN, Match, match_path
from app.sign_in import send_sign_in, wants_sign_in

logger = logging.getLogger("clickfold.http")

CLIENT_GONE = 499  # as nginx counts it: nobody was there to get a reply
KEY_IN_SCOPE = "clickfold.key"
HEAD_IN_SCOPE = "clickfold.head"  # whether no body is wanted

HotRoute = Callable[[Scope, Receive, Send, str, Key], Awaitable[int]]


class Gate:
    """ASGI middleware; see the head of this file."""

    def __init__(
        self,
        app: ASGIApp,
        admission: Admission,
        hot_path: HotPath,
        meter: RequestMeter,
        room: RequestRoom,
    ) -> None:
        self._app = app
        self._admission = admission
        self._meter = meter
        self._room = room
        self._hot: dict[str, HotRoute] = {
            prefix + path: endpoint
            for prefix in ("", MODEL_PREFIX)
            for path, endpoint in (("/learn", hot_path.learn), ("/predict", hot_path.predict))
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; pass the lifespan on; refuse anything else."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            started = time.perf_counter()
            match = match_path(scope["path"])
            reply = _Reply(scope["method"], send)
            await self._answer(scope, receive, reply, match)
            template = match.route.template if match is not None else UNKNOWN
            seconds = time.perf_counter() - started
            self._meter.count(template, scope["method"], reply.status, seconds)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(
        self, scope: Scope, receive: Receive, reply: _Reply, match: Match | None
    ) -> None:
        try:
            match, key = self._admission.admit(scope, match)
            self._room.enter(match.route)
            try:
                hot = self._hot.get(match.route.template)
                if hot is not None and match.model is not None:
                    await hot(scope, receive, reply.send, match.model, key)
                else:
                    method = "GET" if scope["method"] == "HEAD" else scope["method"]
                    inner = {**scope, "method": method, KEY_IN_SCOPE: key}
                    inner[HEAD_IN_SCOPE] = reply.is_head
                    await self._app(inner, receive, reply.send_secured)
            finally:
                self._room.leave(match.route)
        except Problem as problem:
            if wants_sign_in(scope, match, problem):
                await send_sign_in(reply.send, problem)
            else:
                await send_problem(reply.send, problem)
        except ClientGone:
            reply.status = CLIENT_GONE
        except Exception:  # the outermost loop of a request
            logger.exception("a request failed: %s", scope["method"])
            await reply.fail()


class _Reply:
    """What has been sent: knows the status, drops the body of a HEAD, fails once."""

    def __init__(self, method: str, send: Send) -> None:
        self._send = send
        self.is_head = method == "HEAD"
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self.is_head:
            message = {**message, "body": b""}
        await self._send(message)

    async def send_secured(self, message: Message) -> None:
        """As `send`, with the security headers where FastAPI's routes have not set them."""
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            added = [pair for pair in SECURITY_HEADERS if pair[0] not in present]
            message = {**message, "headers": [*message["headers"], *added]}
        await self.send(message)

    async def fail(self) -> None:
        """The last resort: a 500 when nothing was sent yet, else nothing (the server closes)."""
        if self.status:
            raise ConnectionAbortedError("a reply broke off")
        await send_problem(self.send, Problem("internal-error", "the request failed"))
