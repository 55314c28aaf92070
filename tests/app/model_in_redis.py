"""A model made in a real Redis, with the few calls that the tests of log and checkpoints repeat."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.checkpoint_store import CheckpointStore
from app.event_log import Append, Appended, Control, EventLog, LogEntry
from app.model_index import ModelIndex
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.position import START, Position


def draw() -> str:
    """A nonce, an incarnation or a producer id."""
    return secrets.token_hex(8)


@dataclass
class ModelInRedis:
    """A model with its log and store, and the position of one caller that follows it."""

    connections: RedisConnections
    keys: ModelKeys
    incarnation: str = field(default_factory=draw)
    producer: str = field(default_factory=draw)
    batch_number: int = 0
    at: Position = START
    nonce: str = ""

    def __post_init__(self) -> None:
        self.log = EventLog(self.connections, self.keys)
        self.store = CheckpointStore(self.connections, self.keys, self.incarnation)
        self.index = ModelIndex(self.connections, self.keys.prefix)
        self.nonce = self.nonce or self.incarnation

    async def create(self) -> None:
        """Make the model and go to 1-1."""
        nonce = draw()
        await self.index.create(self.keys.model, self.incarnation, nonce, b"create", "{}")
        self.at, self.nonce = Position(1, 1), nonce

    def batch(
        self, *payloads: bytes, cap: int = 0, control: Control | None = None, **changes: Any
    ) -> Append:
        """The next batch of this producer, from this caller's position; `send` uses it up."""
        arguments: dict[str, Any] = {
            "incarnation": self.incarnation,
            "epoch": self.at.epoch,
            "producer": self.producer,
            "batch_number": self.batch_number + 1,
            "after": self.at,
            "after_nonce": self.nonce,
            "entries": [(payload, draw()) for payload in payloads],
            "log_bytes_max": cap,
            "control": control,
        }
        return Append(**(arguments | changes))

    async def send(self, batch: Append) -> Appended:
        """Append; a refused batch leaves its number to the next one."""
        appended = await self.log.append(batch)
        self.batch_number = max(self.batch_number, batch.batch_number)
        return appended

    async def append(
        self, *payloads: bytes, cap: int = 0, control: Control | None = None
    ) -> Appended:
        """Append and go to the last entry."""
        batch = self.batch(*payloads, cap=cap, control=control)
        appended = await self.send(batch)
        self.at, self.nonce = appended.last, batch.entries[-1][1]
        return appended

    async def checkpoint(
        self, pages: dict[int, bytes], base: str | None, *, log_is_full: bool = False
    ) -> str:
        """begin, put and commit at the caller's position; the generation."""
        generation = await self.store.begin(base, self.at)
        await self.store.put_pages(generation, pages)
        await self.store.commit(
            generation,
            b"manifest of " + generation.encode(),
            self.at,
            self.nonce,
            len(pages),
            0,
            log_is_full=log_is_full,
        )
        return generation

    async def entries(self) -> list[LogEntry]:
        return await self.log.read(START, 100_000, 1 << 30)

    async def ask(self, *command: bytes | str | int) -> Any:
        """A command as an operator would type it."""
        return await self.connections.write_command(*command)

    async def meta(self, name: str) -> str:
        value = await self.ask("HGET", self.keys.meta, name)
        return bytes(value).decode()

    async def all_keys(self) -> set[str]:
        return {bytes(key).decode() for key in await self.ask("KEYS", "*")}

    async def dump(self) -> dict[str, bytes | None]:
        """Every key with its serialised value: equal dumps mean that nothing was written."""
        return {key: await self.ask("DUMP", key) for key in sorted(await self.all_keys())}


@asynccontextmanager
async def opened(url: str, model: str = "m", **options: Any) -> AsyncIterator[ModelInRedis]:
    """A fresh model of that name, created."""
    connections = RedisConnections.from_url(url, **options)
    try:
        made = ModelInRedis(connections, ModelKeys("ctr", model))
        await made.create()
        yield made
    finally:
        await connections.aclose()
