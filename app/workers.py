"""Several server processes over one socket: `serve --workers N`.

Each worker is a whole replica: it folds everything and shares nothing but Redis. The parent binds
the socket, launches the embedded server (which dies with it), forks the workers before anything
that does not survive a fork is imported, and then only watches: a worker that dies is replaced,
not faster than one a second; a signal is passed on, and the embedded server is stopped when the
last worker is gone. On Linux the workers get SIGTERM if the parent is killed.

Forking was preferred to starting fresh interpreters: settings, secrets among them, need no second
way in, and the listening socket is simply there.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time

from app.embedded_keeper import EmbeddedKeeper
from app.embedded_server import EmbeddedServer
from app.server import Signals, redis_of, serve_on
from app.settings import Settings
from app.starting import Progress
from ftrl_core.errors import ClickfoldError

PR_SET_PDEATHSIG = 1
CHECK_SECONDS = 0.2
REPLACE_SECONDS = 1.0


def supervise(
    settings: Settings, listener: socket.socket, progress: Progress, signals: Signals
) -> None:
    """Run the workers until a signal. ClickfoldError when the first of them cannot start."""
    url, embedded = redis_of(settings, progress, signals)
    workers: dict[int, int] = {}
    try:
        for number in range(settings.workers):
            workers[_fork(settings, listener, url, number)] = number
        keeper = EmbeddedKeeper(embedded, progress)
        while not signals.stop.wait(CHECK_SECONDS):
            keeper.look()
            _replace_ended(workers, settings, listener, url, progress)
    finally:
        _stop(workers, embedded)


def _replace_ended(
    workers: dict[int, int],
    settings: Settings,
    listener: socket.socket,
    url: str,
    progress: Progress,
) -> None:
    for pid in list(workers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            number = workers.pop(pid)
            progress.say(f"worker {number} ended with status {os.waitstatus_to_exitcode(status)}")
            time.sleep(REPLACE_SECONDS)
            workers[_fork(settings, listener, url, number)] = number


def _stop(workers: dict[int, int], embedded: EmbeddedServer | None) -> None:
    for pid in workers:
        os.kill(pid, signal.SIGTERM)
    for pid in workers:
        os.waitpid(pid, 0)
    if embedded is not None:
        embedded.stop()


def _fork(settings: Settings, listener: socket.socket, url: str, number: int) -> int:
    """The pid of a new worker; in the worker itself this never returns."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        _die_with(parent)
        with Signals() as signals:
            serve_on(settings, listener, Progress(f"worker {number}: "), signals, url)
        status = 0
    except ClickfoldError as error:
        print(f"clickfold worker {number}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _die_with(parent: int) -> None:
    """Ask for SIGTERM at the parent's death (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            raise ClickfoldError("the parent is gone")
