"""GET /stats/stream: one line of JSON a second, of each model the same line for all who listen.

    first stream of a model opens ──► a task: each second one look, encoded once
                                        │ a future that all its streams wait for
    stream ◄── the newest line; one that cannot keep up misses lines, and holds nobody back
    last stream of a model closes ──► the task ends

So a hundred open pages cost a hundred small writes a second and no more. A stream ends when its
client goes, after `?seconds=`, or within TICK_SECONDS when the service is told to stop: an open
page never holds a shutdown up. Nothing runs while nobody listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.gate import HEAD_IN_SCOPE
from app.light_figures import Windows, look, side_by_side
from app.problems import RETRY_AFTER_SECONDS, Problem
from app.rates import Rates, Reading
from app.replica import ModelReplica
from app.replies import encode_json
from app.request_meter import BUCKETS, SECONDS_BUCKETS
from app.route_table import MODEL_PREFIX
from app.worker_figures import Document, WorkerFigures, is_alive, summed

LINE_SECONDS = 1.0
TICK_SECONDS = 0.1  # between two looks whether the service stops
STREAMS_MAX = 256  # of a process
NDJSON = "application/x-ndjson"


class Channel:
    """The lines of one model, for all its streams."""

    def __init__(self, streams: LiveStreams, replica: ModelReplica) -> None:
        self.replica = replica
        self._streams = streams
        self._rates = Rates(SECONDS_BUCKETS)
        self._next: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.newest = b""
        self.listeners = 0
        self._task = asyncio.create_task(self._run())

    def next_line(self) -> asyncio.Future[bytes]:
        """Resolved with the next line; with b"" at the end. Shared: not to be cancelled."""
        return self._next

    def close(self) -> None:
        """End the task."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._streams.must_end() and not self.replica.has_ended():
                if time.monotonic() >= due:
                    due = time.monotonic() + LINE_SECONDS
                    self._tell(encode_json(await self._line()) + b"\n")
                await asyncio.sleep(TICK_SECONDS)
        finally:
            self._streams.forget(self)
            self._next.set_result(b"")

    def _tell(self, line: bytes) -> None:
        told, self._next = self._next, asyncio.get_running_loop().create_future()
        self.newest = line
        told.set_result(line)

    async def _line(self) -> dict[str, Any]:
        streams, replica = self._streams, self.replica
        figures = await look(replica, streams.windows)
        documents = await streams.workers.all()
        seconds = {kind: _buckets(documents, f"/{kind}") for kind in ("learn", "predict")}
        alive = [one for one in documents if is_alive(one)]
        reading = Reading(time.monotonic(), figures.get("examples", 0), seconds)
        return {
            **figures,
            **self._rates.note(reading),
            "replicas": side_by_side(alive, replica.name, streams.workers.place.number),
            "agreed": replica.agreed(),
            "streams": streams.open,
        }


class LiveStreams:
    """All streams of a process."""

    def __init__(self, workers: WorkerFigures, windows: Windows) -> None:
        self.workers = workers
        self.windows = windows
        self.open = 0
        self.stopping: Callable[[], bool] = lambda: False  # asked ten times a second
        self._closed = False
        self._channels: dict[str, Channel] = {}

    def reply(self, replica: ModelReplica, seconds: float) -> Response:
        """The reply that streams; Problem 503 when there are too many, or the service stops."""
        if self.must_end() or self.open >= STREAMS_MAX:
            raise Problem("busy", "too many streams are open", retry_after=RETRY_AFTER_SECONDS)
        return _StreamReply(self, replica, seconds)

    def join(self, replica: ModelReplica) -> Channel:
        """The channel of the model, begun if nobody listened."""
        channel = self._channels.get(replica.name)
        if channel is None or channel.replica is not replica:
            channel = self._channels[replica.name] = Channel(self, replica)
        channel.listeners += 1
        self.open += 1
        return channel

    def leave(self, channel: Channel) -> None:
        """One stream less; the last one ends the channel."""
        channel.listeners -= 1
        self.open -= 1
        if not channel.listeners:
            channel.close()
            self.forget(channel)

    def forget(self, channel: Channel) -> None:
        """The channel has ended: who comes next begins another."""
        if self._channels.get(channel.replica.name) is channel:
            del self._channels[channel.replica.name]

    def must_end(self) -> bool:
        """Whether no stream is to go on."""
        return self._closed or self.stopping()

    def close(self) -> None:
        """End all streams, and open none any more."""
        self._closed = True


def _buckets(documents: list[Document], path: str) -> list[int]:
    """Requests of this path, of any model and worker, by buckets of seconds."""
    both = (path, MODEL_PREFIX + path)
    counts = [one["seconds"][name] for one in documents for name in both if name in one["seconds"]]
    return summed(counts, BUCKETS)


class _StreamReply(Response):
    """Sends lines until its client is gone, its time is over, or the service stops."""

    def __init__(self, streams: LiveStreams, replica: ModelReplica, seconds: float) -> None:
        super().__init__(media_type=NDJSON)
        del self.headers["content-length"]
        self._streams = streams
        self._replica = replica
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        if not scope.get(HEAD_IN_SCOPE):
            await self._stream(receive, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, receive: Receive, send: Send) -> None:
        channel = self._streams.join(self._replica)
        gone = asyncio.create_task(_until_gone(receive))
        deadline = time.monotonic() + self._seconds
        try:
            line = channel.newest or await _next(channel, gone, deadline)
            while line:
                await send({"type": "http.response.body", "body": line, "more_body": True})
                line = await _next(channel, gone, deadline)
        finally:
            self._streams.leave(channel)
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


async def _next(channel: Channel, gone: asyncio.Task[None], deadline: float) -> bytes:
    """The next line; b"" when there is to be none."""
    line = channel.next_line()
    waiting: set[asyncio.Future[Any]] = {line, gone}
    left = max(0.0, deadline - time.monotonic())
    await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
    return line.result() if line.done() and not gone.done() else b""


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
