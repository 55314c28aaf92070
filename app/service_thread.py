"""The event loop of a server process, in a thread of its own: HTTP, models, Redis connections.

It is not the main thread, because that one has work only it can do: signals, and launching the
embedded server, which the kernel ties to the thread that launched it. So the main thread
(app/server.py) supervises and this one serves; neither waits for the other but at start and end.

    uvicorn serves `Switch` at once
    imports and kernels (a daemon thread) ─┐
    Redis URL (from the main thread)  ─────┴─► connections ─► hub ─► application ─► Switch

At the end: uvicorn stops accepting and finishes what it has, the hub appends what is queued and
writes the last checkpoints, the connections close. The embedded server is stopped after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
import resource
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from math import ceil
from types import ModuleType
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from app import tracing
from app.connection_guard import ConnectionGuard
from app.direct_protocol import DirectProtocol
from app.errors import AppendUnknown, LogError, RedisAway, RedisRefused, ServerRefused
from app.failpoints import failpoint
from app.redis_connections import RedisConnections
from app.settings import Settings
from app.starting import Progress, Switch
from app.tracing import TRACING
from app.worker_figures import WorkerPlace

if TYPE_CHECKING:
    from app.hub import Hub

logger = logging.getLogger("clickfold")

FILES_KEPT = 128  # descriptors for other than connections
CONNECTIONS_LEAST = 16  # with so few descriptors that accepting will fail sooner or later
REDIS_WAIT_SECONDS = 0.5
STILL_SECONDS = 5.0
KERNELS_STOP_SECONDS = 3.0
# How long a thread that cuts, loads or digests may keep the interpreter from the event loop. By
# Python's own 5 ms each step of a request waited so long: 13 to 19 ms beside a digest, 2 to 4 so.
SWITCH_SECONDS = 0.0005


class ServiceThread:
    """Serves on a listening socket until `stop`; `error` says why it ended by itself."""

    def __init__(
        self,
        settings: Settings,
        listener: socket.socket,
        progress: Progress,
        place: WorkerPlace | None = None,
    ) -> None:
        self._settings = settings
        self._place = place
        self._listener = listener
        self._progress = progress
        limits = settings.connection_limits()
        room = max(CONNECTIONS_LEAST, limit_of_open_files() - FILES_KEPT)
        self._guard = ConnectionGuard(replace(limits, connections=min(limits.connections, room)))
        self._switch = Switch(progress, self._guard)
        self._redis_url: Future[str] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._may_interrupt = True
        self._stopping = threading.Event()
        self._hub: Hub | None = None
        self._connections: RedisConnections | None = None
        self._server = uvicorn.Server(self._uvicorn_config())
        self._thread = threading.Thread(target=self._run, name="clickfold-service")
        self._kernels = threading.Thread(
            target=self._prepare, name="clickfold-kernels", daemon=True
        )
        self._prepared: Future[None] = Future()
        self.ready = threading.Event()
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin to listen and to prepare."""
        gc.disable()  # until everything is made
        self._kernels.start()
        self._thread.start()

    def use_redis(self, url: str) -> None:
        """Where Redis is; awaited by the start."""
        self._redis_url.set_result(url)

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the end; whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ask for an orderly end; returns at once."""
        self._stopping.set()
        self._server.should_exit = True
        loop, starting = self._loop, self._starting
        if loop is not None and starting is not None and self._may_interrupt:
            with contextlib.suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(starting.cancel)

    @property
    def is_compiling(self) -> bool:
        """Whether the thread that compiles is still at it, although it was told to stop."""
        self._kernels.join(KERNELS_STOP_SECONDS)
        return self._kernels.is_alive()

    def _uvicorn_config(self) -> uvicorn.Config:
        settings = self._settings
        return uvicorn.Config(
            self._switch,
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=DirectProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            access_log=False,
            log_config=None,
            log_level="error",  # malformed requests are counted, not logged
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=ceil(settings.idle_seconds),
            timeout_graceful_shutdown=ceil(settings.stop_seconds),
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )

    def _prepare(self) -> None:
        """Import what is slow to import, and compile or load every kernel."""
        try:
            for step in (_import_application, _warm_up_ingest, _warm_up_fold):
                if not self._stopping.is_set():
                    step()
        except BaseException as error:  # noqa: BLE001  a thread's outermost frame: handed over
            self._prepared.set_exception(error)
        else:
            self._prepared.set_result(None)

    def _run(self) -> None:
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  a thread's outermost frame: handed over
            self.error = self.error or error

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.create_task(self._start())
        try:
            if not self._stopping.is_set():
                serving = asyncio.create_task(self._server.serve([self._listener]))
                await asyncio.wait({serving, self._starting}, return_when=asyncio.FIRST_COMPLETED)
                self._note_failed_start()
                await serving
        finally:
            await self._end()

    def _note_failed_start(self) -> None:
        starting = self._starting
        if starting is not None and starting.done() and not starting.cancelled():
            self.error = starting.exception()
            if self.error is not None:
                self._server.should_exit = True

    async def _end(self) -> None:
        starting = self._starting
        if starting is not None and not starting.done():
            if self._may_interrupt:
                starting.cancel()
            await asyncio.wait({starting})
            self._note_failed_start()
        for task in (self._watching, self._publishing):
            if task is not None:
                task.cancel()
        if self._hub is not None:
            self._progress.begin("writing the last checkpoint")
            await self._hub.close()
            failpoint("stop.closed")
        if self._connections is not None:
            await self._connections.aclose()
        await asyncio.to_thread(TRACING.stop)

    async def _start(self) -> None:
        self._progress.begin("loading kernels (a first start compiles them: up to a minute)")
        await self._until(self._prepared)
        _keep_out_of_collections()
        self._progress.say("kernels are ready and pass the self-test")
        url = await asyncio.wrap_future(self._redis_url)
        self._connections = RedisConnections.from_url(
            url, self._settings.durability, waitaof=self._settings.waitaof
        )
        await self._until_redis_answers(self._connections)
        self._may_interrupt = False  # from here on Redis is written to
        failpoint("start.connected")
        await self._open_models(self._connections)

    async def _until(self, future: Future[None]) -> None:
        waiting = asyncio.wrap_future(future)
        while not (await asyncio.wait({waiting}, timeout=STILL_SECONDS))[0]:
            self._progress.say(f"still {self._progress.doing.partition(' (')[0]}")
        await waiting

    async def _until_redis_answers(self, connections: RedisConnections) -> None:
        self._progress.doing = "connecting to Redis"
        told = False
        while True:
            try:
                facts = await connections.check_server()
            except ServerRefused:
                raise
            except RedisAway as error:
                if not told:
                    self._progress.say(f"waiting: {error}")
                told = True
                await asyncio.sleep(REDIS_WAIT_SECONDS)
            else:
                version = ".".join(map(str, facts.version))
                self._progress.say(f"Redis: {facts.name} {version} at {connections.url_masked}")
                return

    async def _open_models(self, connections: RedisConnections) -> None:
        from app.default_config import default_config
        from app.hub import Hub

        self._progress.doing = "loading models"
        self._settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        hub = Hub(self._settings, connections)
        application = _import_application().create_app(self._settings, hub, self._place)
        self._hub = hub
        config = default_config(self._settings.config)
        await start_hub(hub, config, self._progress.say, self._stopping.is_set)
        failpoint("start.opened")
        application.state.streams.stopping = self._stopping.is_set
        application.state.meter.guard = self._guard
        application.state.key_file.changed = self._guard.forget_heads
        self._publishing = asyncio.create_task(application.state.workers.keep_publishing())
        self._watching = asyncio.create_task(application.state.key_file.watch())
        if tracing.is_wanted():
            TRACING.start()
            self._switch.application = TRACING.traced(application)
        else:
            self._switch.application = application
            self._switch.direct = application.state.direct
        for replica in hub.loaded():
            await replica.settled(24 * 3600.0)
            model = replica.model
            at = f"position {model.position}" if model is not None else replica.detail
            self._progress.say(f"model {replica.name}: {at}")
        _keep_out_of_collections()
        self.ready.set()


async def start_hub(
    hub: Hub, config: dict[str, Any], say: Callable[[str], None], must_end: Callable[[], bool]
) -> None:
    """Start the hub; a Redis that goes away meanwhile is waited for, as one that is not there yet.

    Starting again is safe: models are looked up before one is made. Raises ServerRefused.
    """
    told = False
    while True:
        try:
            await hub.start(config)
        except (RedisAway, AppendUnknown) as error:
            if isinstance(error, RedisRefused) or must_end():
                raise ServerRefused("redis_url", f"models cannot be opened: {error}") from error
            if not told:
                say(f"waiting: {error}")
            told = True
            await asyncio.sleep(REDIS_WAIT_SECONDS)
        except LogError as error:
            raise ServerRefused("redis_url", f"models cannot be opened: {error}") from error
        else:
            return


def limit_of_open_files() -> int:
    """How many descriptors this process may have; the soft limit is raised to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


def _keep_out_of_collections() -> None:
    """Take what lives as long as the process out of the garbage collector's sight, and let it work.

    Numba and FastAPI leave a million objects behind, and a full collection over them stopped every
    request for 160 to 350 ms, every few seconds under load. Looking for garbage among them while
    they are made took a fifth of the start, and found next to nothing.
    """
    gc.freeze()
    gc.enable()


def _import_application() -> ModuleType:
    """The application's module, imported as late as can be: with Numba it takes over a second."""
    return importlib.import_module("app.main")


def _warm_up_ingest() -> None:
    from app import ingest

    ingest.warm_up()


def _warm_up_fold() -> None:
    from ftrl_core import warmup

    warmup.warm_up()
