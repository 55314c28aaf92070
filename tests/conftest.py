"""What every test may use: a fresh real server, a printed seed, and a kernel cache that persists.

Redis is never faked: a fake would agree with our misunderstandings. The bundled binary starts in
about 0.1 s, so each test that asks for `redis_url` gets a server of its own. Tests marked `compat`
run a second time on `redis-server` from PATH (Debian's 7.0), or skip by name where there is none.

Kernels are compiled by the first run only, before its first test, so that none is late for it:
importing `app` below, before numba is imported, chooses a cache in the checkout, which the
processes that a test starts inherit through the environment.
"""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded_server import EmbeddedServer
from ftrl_core.warmup import warm_up

REPORT_SEED = pytest.StashKey[int]()


def pytest_sessionstart() -> None:
    """Compile every kernel, outside of any test's time limit."""
    warm_up()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`redis_url` on the bundled server; tests marked `compat` on the installed one too."""
    if "redis_binary" not in metafunc.fixturenames:
        return
    marked = metafunc.definition.get_closest_marker("compat") is not None
    choices = ["bundled", "redis-server"] if marked else ["bundled"]
    metafunc.parametrize("redis_binary", choices, indirect=True)


@pytest.fixture
def redis_binary(request: pytest.FixtureRequest) -> str:
    """What to give EmbeddedServer.start as `binary`."""
    choice = str(request.param)
    if choice == "bundled":
        return choice
    found = shutil.which(choice)
    if found is None:
        pytest.skip(f"no {choice} on PATH")
    return found


@pytest.fixture
def redis_server(redis_binary: str) -> Iterator[EmbeddedServer]:
    """A fresh server, for tests that also kill, stop or look into it."""
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-test-") as directory,
        EmbeddedServer.start(Path(directory), redis_binary, "fsync") as server,
    ):
        yield server


@pytest.fixture
def redis_url(redis_server: EmbeddedServer) -> str:
    """The URL of a fresh server."""
    return redis_server.url


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed; printed when the test fails, and repeated with CLICKFOLD_TEST_SEED."""
    given = os.environ.get("CLICKFOLD_TEST_SEED")
    value = int(given) if given else random.SystemRandom().getrandbits(32)
    request.node.stash[REPORT_SEED] = value
    request.node.add_report_section("setup", "seed", f"CLICKFOLD_TEST_SEED={value}")
    return value
