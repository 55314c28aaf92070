"""A process that has imported and compiled all there is, and forks a service for each line read.

    python -m scripts.crash_run.template        lines of JSON in, one line with the pid out

A start of the command line takes 2 s of imports and kernels; a fork of this takes 20 ms, and is a
process of its own in every way that matters: its own memory, threads, sockets, event loop, and a
SIGKILL ends it alone. The fork runs app.server.run as the command line does.

    {"settings": {...}, "log": PATH, "plan": PLAN}

Small constants stand in for large data: entries of few features and checkpoints of few bytes in
flight, so that one group has several entries and one checkpoint several batches of pages.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ["CLICKFOLD_TEST_CRASHES"] = "allowed"  # read when app.failpoints is imported

import app.main
from app import checkpoint_store, failpoints, ingest, server, service_thread
from app.embedded_server import EmbeddedServer
from app.settings import load_settings
from ftrl_core import entry, warmup

ENTRY_FEATURES = 48
IN_FLIGHT_BYTES = 1 << 15  # a page
CHILDREN = (EmbeddedServer, service_thread, app.main)  # imported before the fork


def prepare() -> None:
    """Everything that a start waits for, once."""
    ingest.warm_up()
    warmup.warm_up()
    entry.FEATURES_MAX = ENTRY_FEATURES
    checkpoint_store.IN_FLIGHT_BYTES = IN_FLIGHT_BYTES
    # The self-test has passed here; the fork has the same kernels.
    warmup.SELF_TESTS = ()
    gc.collect()
    gc.freeze()


def serve(order: dict[str, Any]) -> None:
    """Be the service; in the fork."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    failpoints.armed.follow(order["plan"])
    settings = dict(order["settings"])
    for name in ("data_dir", "snapshot_dir"):
        if name in settings:
            settings[name] = Path(settings[name])
    server.run(load_settings(**settings))


def main() -> None:
    """Fork for each line, until there are no more."""
    prepare()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits here: who kills has a pidfd
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                serve(json.loads(line))
                status = 0
            except BaseException:  # noqa: BLE001  the outermost frame of a process
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
