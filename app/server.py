"""`clickfold serve`: one process, or several over one socket, from the first line to the last.

The main thread binds the socket (so that a busy port is known at once, before anything else is
touched), starts the thread that serves (app/service_thread.py), launches the embedded server unless
a Redis is named, and then waits for a signal. Stopping is the same backwards: no more connections,
queued learns, last checkpoints, and the embedded server last of all.

Trouble at the start (a busy port or data directory, an unreadable certificate, a Redis that cannot
be used) is a ClickfoldError with one clear line; the command line prints it and exits with 1.
SIGTERM and Ctrl-C end the service in order, exit status 0; a second Ctrl-C does not wait.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Self

from ftrl_core.errors import ClickfoldError

if TYPE_CHECKING:
    from app.embedded_server import EmbeddedServer
    from app.service_thread import ServiceThread
    from app.settings import Settings
    from app.worker_figures import WorkerPlace

from app.log_lines import configure
from app.starting import Progress

BACKLOG = 2048
# What the kernel takes of a reply beyond what is under way to the client: by itself it would take
# megabytes, and a client that never reads would look like one that has got everything.
UNSENT_BYTES = 128 << 10
JOIN_SECONDS = 0.2


class ServeError(ClickfoldError):
    """The service cannot start, or broke down; the message is one clear line."""


class Stopped(Exception):
    """A signal came while the embedded server was being started."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. To be called in the main thread.

    Raises ServeError and other ClickfoldErrors with a message for the terminal.
    """
    configure(settings.log_format)
    progress = Progress(log_format=settings.log_format)
    listener = listen(settings.host, settings.port)
    with listener, Signals() as signals:
        if settings.workers > 1:
            from app.workers import supervise

            supervise(settings, listener, progress, signals)
        else:
            serve_on(settings, listener, progress, signals)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. ServeError when the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # every connection has it from the listener
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.set_inheritable(False)
    except OSError as error:
        listener.close()
        hint = (
            "; is another service there? Take another --port"
            if error.errno == errno.EADDRINUSE
            else ""
        )
        raise ServeError(f"cannot listen on {host} port {port}: {error.strerror}{hint}") from error
    return listener


def serve_on(
    settings: Settings,
    listener: socket.socket,
    progress: Progress,
    signals: Signals,
    redis_url: str | None = None,
    place: WorkerPlace | None = None,
) -> None:
    """Serve on a listening socket; with `redis_url` there, otherwise where the settings say."""
    from app.service_thread import ServiceThread

    service = ServiceThread(settings, listener, progress, place)
    service.start()
    embedded: EmbeddedServer | None = None
    try:
        if redis_url is None:
            redis_url, embedded = redis_of(settings, progress, signals)
        service.use_redis(redis_url)
        _wait(service, embedded, settings, listener, progress, signals)
    except Stopped:
        pass
    except ClickfoldError as error:
        service.error = error
    finally:
        _end(service, embedded, progress)
    _leave(service)


def _leave(service: ServiceThread) -> None:
    """Raise what went wrong; end here and now if the compiler still runs."""
    error = service.error
    if service.is_compiling:
        # It cannot be interrupted, nobody needs its result, and exiting around it is not safe.
        if error is not None:
            print(f"clickfold: {_as_clickfold_error(error)}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(0 if error is None else 1)
    if error is not None:
        raise _as_clickfold_error(error) from error


def redis_of(
    settings: Settings, progress: Progress, signals: Signals
) -> tuple[str, EmbeddedServer | None]:
    """The URL of the Redis to use, and the embedded server where one had to be started.

    Raises DataDirectoryBusy and EmbeddedServerError.
    """
    if settings.redis_url is not None:
        return settings.redis_url, None
    from app.embedded_server import EmbeddedServer

    with signals.raising():
        embedded = EmbeddedServer.start(
            settings.data_dir, settings.redis_binary, settings.durability, progress.say
        )
    progress.say(f"embedded server {embedded.version} on {settings.data_dir}")
    return embedded.url, embedded


def _wait(
    service: ServiceThread,
    embedded: EmbeddedServer | None,
    settings: Settings,
    listener: socket.socket,
    progress: Progress,
    signals: Signals,
) -> None:
    """Until a signal comes or the service ends by itself; says when it is ready."""
    from app.embedded_keeper import EmbeddedKeeper

    keeper = EmbeddedKeeper(embedded, progress)
    said = False
    while not signals.stop.wait(JOIN_SECONDS) and not service.join(0):
        if service.ready.is_set() and not said:
            said = True
            say_ready(settings, listener, progress)
        keeper.look()


def _end(service: ServiceThread, embedded: EmbeddedServer | None, progress: Progress) -> None:
    service.stop()
    while not service.join(JOIN_SECONDS):
        pass
    if embedded is not None:
        progress.begin("stopping the embedded server")
        embedded.stop()
    if service.error is None:
        progress.say("stopped")


def _as_clickfold_error(error: BaseException) -> ClickfoldError:
    if isinstance(error, ClickfoldError):
        return error
    return ServeError(f"the service broke down: {type(error).__name__}: {error}")


def say_ready(settings: Settings, listener: socket.socket, progress: Progress) -> None:
    """What to try next, on the terminal."""
    scheme = "https" if settings.tls_cert is not None else "http"
    host = settings.host if ":" not in settings.host else f"[{settings.host.strip('[]')}]"
    host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  compared, not bound
    url = f"{scheme}://{host}:{listener.getsockname()[1]}"
    key = " -H 'Authorization: Bearer KEY'" if settings.has_keys() else ""
    json = f"{key} -H 'Content-Type: application/json' -d"
    progress.doing = "serving"
    progress.say(f"ready: {url}")
    lines = (
        "try",
        f"""  curl {url}/learn{json} '{{"label": 1, "features": {{"ad": "a9", "hour": "14"}}}}'""",
        f"""  curl {url}/predict{json} '{{"features": {{"ad": "a9", "hour": "14"}}}}'""",
        f"  curl {url}/stats{key}",
        f"or open {url}/docs in a browser; Ctrl-C stops",
    )
    if settings.log_format == "text":
        print("\n".join(lines), file=sys.stderr, flush=True)


class Signals:
    """In the block, SIGTERM and SIGINT set `stop`; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._raises = False
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def raising(self) -> Iterator[None]:
        """While in the block, a signal interrupts what the main thread does (Stopped)."""
        if self.stop.is_set():
            raise Stopped
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set() and number == signal.SIGINT:
            os._exit(130)
        self.stop.set()
        if self._raises:
            self._raises = False
            raise Stopped
