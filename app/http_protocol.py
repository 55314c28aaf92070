"""uvicorn's HTTP protocol with the head and the body of a reply in one write.

uvicorn writes the two separately, so a client gets them in two segments. That costs a system call
a request, and it has a window: a process killed between the two leaves a client with a status 200
and no body, for which hardly any client has a retry. Here what is written in one go of the event
loop leaves in one go: at the end of a reply at once, otherwise with the loop's next round.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WAITING_BYTES_MAX = 64 << 10


class JoiningTransport(asyncio.Transport):
    """A transport that holds writes back until `flush`, the loop's next round, or 64 KiB."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send, a little later."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append(bytes(data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes > WAITING_BYTES_MAX:
            self.flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send several, a little later."""
        for data in list_of_data:
            self.write(data)

    def flush(self) -> None:
        """Send what was held back."""
        if self._waiting:
            joined = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
            try:
                self._transport.write(joined)
            except RuntimeError:
                self._check_closing()

    def write_now(self, data: bytes) -> None:
        """Send at once, after what was held back."""
        self.flush()
        try:
            self._transport.write(data)
        except RuntimeError:
            self._check_closing()

    def _check_closing(self) -> None:
        """To be called while a write has failed, which raises again if the client is still there.

        uvloop raises where the client has gone and the protocol is not told yet: that is no failure
        of a request.
        """
        if not self._transport.is_closing():
            raise

    def close(self) -> None:
        """Send what was held back, then close."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether it is closed or being closed."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the socket."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Stop calling data_received."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on calling data_received."""
        self._transport.resume_reading()

    def is_reading(self) -> bool:
        """Whether data_received is called."""
        return self._transport.is_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes not sent yet."""
        return self._waiting_bytes + self._transport.get_write_buffer_size()


class JoiningProtocol(HttpToolsProtocol):
    """uvicorn's own, over a JoiningTransport."""

    _joined: JoiningTransport

    def connection_made(  # type: ignore[override]  # as uvicorn's own narrows it
        self, transport: asyncio.Transport
    ) -> None:
        """A client connected."""
        self._joined = JoiningTransport(transport, self.loop)
        super().connection_made(self._joined)

    def on_response_complete(self) -> None:
        """A reply is whole: it leaves now."""
        self._joined.flush()
        super().on_response_complete()
