"""Requests as bytes, and a strict reader of replies: what it cannot read is the server's fault."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [A-Za-z' -]+")
_FIELD = re.compile(rb"([a-z0-9-]+): ([\x20-\x7e]*)")
HEAD_MAX = 16 << 10


class BadReply(Exception):
    """The server sent what is no reply of HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole reply."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes

    @property
    def closes(self) -> bool:
        """Whether the server says that it closes the connection."""
        return self.fields.get(b"connection") == b"close"

    def compared(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """All of it but the time."""
        fields = {name: value for name, value in self.fields.items() if name != b"date"}
        return self.status, fields, self.body


def request(
    path: str,
    body: bytes = b"",
    *lines: bytes,
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
    kind: bytes = b"application/json",
) -> bytes:
    """A request in order, its own lines after the usual ones."""
    head = [b"%b %b %b" % (method, path.encode(), version), b"Host: 127.0.0.1"]
    if method == b"POST":
        head += [b"Content-Type: " + kind, b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*head, *lines, b"", b""]) + body


def chunked(path: str, chunks: bytes, *lines: bytes) -> bytes:
    """A request whose body is these chunks as they are."""
    head = (
        b"POST %b HTTP/1.1" % path.encode(), b"Host: 127.0.0.1", b"Content-Type: application/json",
        b"Transfer-Encoding: chunked",
    )  # fmt: skip
    return b"\r\n".join([*head, *lines, b"", b""]) + chunks


def in_chunks(body: bytes, size: int, extension: bytes = b"") -> bytes:
    """The body as chunks of this size, the last of no bytes."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts) + b"0\r\n\r\n"


async def read_reply(reader: asyncio.StreamReader, is_head: bool = False) -> Reply | None:
    """The next reply; None at the end of the connection. BadReply, and TimeoutError by the caller.

    Interim replies are passed over.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise BadReply(f"half a head: {error.partial[:200]!r}") from None
        return None
    except asyncio.LimitOverrunError:
        raise BadReply("a head without an end") from None
    first, *lines = head[:-4].split(b"\r\n")
    matched = _STATUS_LINE.fullmatch(first)
    found = [_FIELD.fullmatch(line) for line in lines]
    if matched is None or not all(found):
        raise BadReply(f"no head: {head[:300]!r}")
    pairs = [(field[1], field[2]) for field in found if field is not None]
    fields, status = dict(pairs), int(matched[1])
    if status == 100:
        return await read_reply(reader, is_head)
    if len(fields) != len(pairs) or b"transfer-encoding" in fields:
        raise BadReply(f"a field twice, or a body without a length: {head[:300]!r}")
    length = fields.get(b"content-length")
    if length is None and status != 204:
        raise BadReply(f"no length: {head[:300]!r}")
    try:
        body = b"" if is_head or length is None else await reader.readexactly(int(length))
    except asyncio.IncompleteReadError as error:
        raise BadReply(f"half a body of {head[:300]!r}") from error
    return Reply(status, fields, body)
