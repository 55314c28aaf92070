"""Which models there are: the hash `<prefix>:models`, and the making and final removal of a model.

The hash has no hash tag, so in a cluster it lives on another node than a model's keys and no
script can change both. meta, in the model's own slot, is the truth; the row is how the model is
found. Rows:

    absent              never made
    <incarnation>       lives
    deleted:<inc.>      tombstone: was deleted, its removal may still be going on

Making   1 read the row   2 create.lua: meta and the first entry   3 row -> <incarnation>
         A crash after 2 leaves a model nobody lists; making it again finds it (ModelExists) and
         `adopt` writes the row. Row first would be worse: a row without meta is what an emptied
         Redis looks like, which is an alarm and must not come from a crash.
Deleting 1 append `delete` (event_log): the model refuses everything from here on
         2 row -> deleted:<incarnation>   3 drop all generations (checkpoint_store)
         4 delete_finish.lua: log, producers, generations, meta
         Any process can go on at any step; while meta stands, the name cannot be made again.

A row is only ever changed from the value that was read before step 2, by compare and set, so that
a late command cannot put an old incarnation over a newer one: incarnations are random and a row
never returns to a value it had.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.errors import ModelGone
from app.lua_scripts import Script
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys, models_key

_TOMBSTONE = "deleted:"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A row of the index."""

    incarnation: str
    deleted: bool


class ModelIndex:
    """The models of one key prefix."""

    def __init__(self, connections: RedisConnections, prefix: str) -> None:
        self._connections = connections
        self._prefix = prefix
        self._key = models_key(prefix)
        self._create = Script("create")
        self._models_row = Script("models_row", when_full=True)
        self._delete_finish = Script("delete_finish")

    async def exists(self) -> bool:
        """Whether any model was ever made under the prefix (and Redis remembers it)."""
        return bool(await self._connections.read_command("EXISTS", self._key))

    async def rows(self) -> dict[str, ModelRow]:
        """Every row by model name, tombstones too."""
        reply = await self._connections.read_command("HGETALL", self._key)
        words = [bytes(word).decode("utf-8", "replace") for word in reply]
        return {name: _parse(text) for name, text in zip(words[::2], words[1::2], strict=True)}

    async def create(
        self, model: str, incarnation: str, nonce: str, payload: bytes, configuration: str
    ) -> int:
        """Make the model with `payload` as its first entry, 1-1; its creation time in ms.

        Repeating the call with the same incarnation is safe. Raises ModelExists (with the
        incarnation that has the name: `adopt` it, or finish its removal), ForeignKey, RedisAway,
        AppendUnknown.
        """
        seen = await self._row(model)
        keys = ModelKeys(self._prefix, model)
        reply = await self._create.call(
            self._connections,
            (keys.meta, keys.log, keys.producers, keys.generations),
            (incarnation, nonce, payload, configuration, keys.head),
            durably=True,
        )
        await self._set_row(model, seen, incarnation)
        return int(reply[0])

    async def adopt(self, model: str) -> None:
        """Write the row of a model whose maker died before it did. ModelGone without a meta."""
        seen = await self._row(model)
        incarnation, state = await self._meta(model)
        if state == "live" and seen != incarnation:
            await self._set_row(model, seen, incarnation)

    async def bury(self, model: str, incarnation: str) -> None:
        """Write the tombstone; call it once the `delete` entry is in the log."""
        tombstone = _TOMBSTONE + incarnation
        seen = await self._row(model)
        if seen == tombstone:
            return
        if await self._meta(model) == (incarnation, "deleted"):
            await self._set_row(model, seen, tombstone)

    async def was_deleted(self, model: str, incarnation: str) -> bool:
        """Whether the row says that this incarnation is no more; not when there is no row."""
        row = await self._row(model)
        return row not in ("", incarnation)

    async def finish_delete(self, model: str, incarnation: str) -> None:
        """Remove what is left of a deleted model whose generations have been dropped.

        Done already is done. Raises CheckpointRefused("live"), WrongIncarnation, RedisAway.
        """
        keys = ModelKeys(self._prefix, model)
        try:
            await self._delete_finish.call(
                self._connections,
                (keys.meta, keys.log, keys.producers, keys.generations),
                (incarnation,),
            )
        except ModelGone:
            return

    async def _row(self, model: str) -> str:
        reply = await self._connections.read_command("HGET", self._key, model)
        return "" if reply is None else bytes(reply).decode("utf-8", "replace")

    async def _meta(self, model: str) -> tuple[str, str]:
        keys = ModelKeys(self._prefix, model)
        reply = await self._connections.read_command("HMGET", keys.meta, "incarnation", "state")
        if reply[0] is None:
            raise ModelGone("the model does not exist")
        return bytes(reply[0]).decode(), bytes(reply[1]).decode()

    async def _set_row(self, model: str, seen: str, row: str) -> None:
        """Compare and set; a row that moved on meanwhile is left as it is."""
        await self._models_row.call(self._connections, (self._key,), (model, seen, row))


def _parse(text: str) -> ModelRow:
    if text.startswith(_TOMBSTONE):
        return ModelRow(text.removeprefix(_TOMBSTONE), deleted=True)
    return ModelRow(text, deleted=False)
