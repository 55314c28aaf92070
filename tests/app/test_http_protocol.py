"""Replies in one write, and a client that has gone meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.http_protocol import JoiningTransport
from tests.app.direct_client import Wire


class Gone(Wire):
    """As uvloop's: it raises for who writes to what is closed."""

    def write(self, data: Any) -> None:
        raise RuntimeError("unable to perform operation; the handler is closed")


async def test_writes_leave_together() -> None:
    wire = Wire()
    joined = JoiningTransport(wire, asyncio.get_running_loop())
    joined.write(b"head ")
    joined.write(b"body")
    assert wire.sent == b""
    joined.flush()
    assert wire.sent == b"head body"


async def test_a_reply_to_who_has_gone_is_no_failure() -> None:
    wire = Gone()
    joined = JoiningTransport(wire, asyncio.get_running_loop())
    wire.closed = True
    joined.write(b"head")
    joined.flush()
    joined.write_now(b"more")


async def test_another_failure_to_write_is_one() -> None:
    joined = JoiningTransport(Gone(), asyncio.get_running_loop())
    with pytest.raises(RuntimeError):
        joined.write_now(b"more")
