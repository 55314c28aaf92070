"""Stands between a service and Redis, and misbehaves when told to.

It reads whole commands, so it can answer one itself with an error reply, as a server that is
loading, full or demoted does; and it can fall silent: connections stand, nothing passes in either
direction, as behind a router that forgot them. What is in flight is remembered in order, so an
error reply never overtakes the reply to an earlier command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Command = list[bytes]
LIMIT = 1 << 26


class Proxy:
    """A unix socket at `path` in front of the unix socket of `url`."""

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._server_path = url.removeprefix("unix://")
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.refuse: Callable[[Command], bytes | None] = forward
        self.connections = 0
        self.silent_only_for_old = False
        self._generation = 0

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    def fall_silent(self) -> None:
        """Nothing passes any more; new connections are taken and not answered either."""
        self._flowing.clear()

    def forget(self) -> None:
        """The connections that stand now are silent for ever; new ones work."""
        self._generation += 1

    def speak(self) -> None:
        """What was held back passes."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        generation = self._generation
        above_reader, above = await asyncio.open_unix_connection(self._server_path, limit=LIMIT)
        answering = asyncio.create_task(self._answer(above_reader, writer, generation))
        try:
            while command := await _read_command(reader):
                await self._pass(generation)
                words, raw = command
                refusal = self.refuse(words)
                if refusal is None:
                    above.write(raw)
                    await above.drain()
                else:
                    writer.write(b"-" + refusal + b"\r\n")
                    await writer.drain()
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            answering.cancel()
            above.close()
            writer.close()
            self._tasks.discard(task)

    async def _answer(
        self, above: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int
    ) -> None:
        with suppress(OSError):
            while data := await above.read(1 << 16):
                await self._pass(generation)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _pass(self, generation: int) -> None:
        await self._flowing.wait()
        if generation != self._generation:
            await asyncio.Event().wait()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def forward(_command: Command) -> bytes | None:
    """Refuse nothing."""
    return None


async def _read_command(reader: asyncio.StreamReader) -> tuple[Command, bytes] | None:
    """The words of the next command and its bytes; None at the end."""
    try:
        head = await reader.readuntil(b"\r\n")
        raw = [head]
        words = []
        for _ in range(int(head[1:])):
            size = await reader.readuntil(b"\r\n")
            content = await reader.readexactly(int(size[1:]) + 2)
            words.append(content[:-2])
            raw += (size, content)
    except asyncio.IncompleteReadError:
        return None
    return words, b"".join(raw)


@asynccontextmanager
async def proxied(folder: Path, url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the server at `url`, listening in `folder`."""
    path = folder / "p"
    proxy = Proxy(path, url)
    server = await asyncio.start_unix_server(proxy._serve, path, limit=LIMIT)
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
