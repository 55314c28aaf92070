"""Several server processes over one socket: `serve --workers N`.

Each worker is a whole replica: it folds everything and shares nothing but Redis. The parent binds
the socket, launches the embedded server (which dies with it), forks the workers before anything
that does not survive a fork is imported, and then only watches: a worker that dies is replaced, not
sooner than REPLACE_SECONDS after it was started, and nobody waits for that; a signal is passed on,
and the embedded server is stopped when the last worker is gone. When all the first workers refuse
to start, so does the service. On Linux the workers get SIGTERM if the parent is killed.

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
import traceback

from app.embedded_keeper import EmbeddedKeeper
from app.embedded_server import EmbeddedServer
from app.server import ServeError, Signals, redis_of, serve_on
from app.settings import Settings
from app.starting import Progress
from app.worker_figures import WorkerPlace, make_folder, remove_folder
from ftrl_core.errors import ClickfoldError

PR_SET_PDEATHSIG = 1
CHECK_SECONDS = 0.2
REPLACE_SECONDS = 1.0
STOP_SECONDS = 60.0  # for queued learns and last checkpoints; then a worker is killed
REFUSED = 1


def supervise(
    settings: Settings, listener: socket.socket, progress: Progress, signals: Signals
) -> None:
    """Run the workers until a signal. ServeError when none of them can start."""
    url, embedded = redis_of(settings, progress, signals)
    workers = Workers(settings, listener, url, progress)
    try:
        keeper = EmbeddedKeeper(embedded, progress)
        while True:
            workers.look()
            keeper.look()
            if signals.stop.wait(CHECK_SECONDS):
                return
    finally:
        _stop(workers, embedded)


def _stop(workers: Workers, embedded: EmbeddedServer | None) -> None:
    workers.stop()
    if embedded is not None:
        embedded.stop()


class Workers:
    """The processes, by number; started and replaced by `look`."""

    def __init__(
        self, settings: Settings, listener: socket.socket, url: str, progress: Progress
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._url = url
        self._folder = make_folder()
        self._progress = progress
        self._numbers: dict[int, int] = {}  # of the processes that run, by pid
        self._due = dict.fromkeys(range(settings.workers), 0.0)  # when to start, by number
        self._first = set(self._due)  # numbers whose first process has not ended
        self._refused: set[int] = set()  # numbers whose first process could not start

    def look(self) -> None:
        """Note who ended, start who is due; returns at once. ServeError when all refused."""
        for pid, number in list(self._numbers.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._numbers[pid]
                self._note_end(number, os.waitstatus_to_exitcode(status))
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._numbers[self._fork(number)] = number

    def _note_end(self, number: int, status: int) -> None:
        self._progress.say(f"worker {number} ended with status {status}")
        self._due[number] = time.monotonic() + REPLACE_SECONDS
        if status == REFUSED and number in self._first:
            self._refused.add(number)
        self._first.discard(number)
        if len(self._refused) == self._settings.workers:
            raise ServeError("no worker could start; see what they said above")

    def stop(self) -> None:
        """SIGTERM to all, and wait for them; who does not end is killed."""
        for pid in self._numbers:
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for pid in self._numbers:
            while not os.waitpid(pid, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    break
                time.sleep(CHECK_SECONDS / 10)
        self._numbers.clear()
        remove_folder(self._folder)

    def _fork(self, number: int) -> int:
        """The pid of a new worker; in the worker itself this never returns."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        status = REFUSED
        try:
            _die_with(parent)
            with Signals() as signals:
                progress = Progress(f"worker {number}: ", self._settings.log_format)
                place = WorkerPlace(number, self._folder)
                serve_on(self._settings, self._listener, progress, signals, self._url, place)
            status = 0
        except ClickfoldError as error:
            print(f"clickfold worker {number}: {error}", file=sys.stderr, flush=True)
        except BaseException:  # noqa: BLE001  outermost frame: nobody would see it otherwise
            traceback.print_exc()
        finally:
            os._exit(status)


def _die_with(parent: int) -> None:
    """Ask for SIGTERM at the parent's death (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            raise ClickfoldError("the parent is gone")
