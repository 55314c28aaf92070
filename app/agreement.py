"""Replicas of one model compare their states, and whoever is wrong takes itself out.

The fold is deterministic, so two replicas with different state digests at one position are proof of
a fault: memory, a processor, or a defect of ours. What is compared leaves out what the fold keeps
only to be looked at (ftrl_core/observed.py): versions may differ in it. When replicas compare
follows from the log, so that they have an equal position to compare at without talking: where the
append time crosses a multiple of `compare_seconds` (more for tables above 256 MiB, so that hashing
stays below 1 % of the time), and, when nothing comes, at the head.

At each comparison a replica first hashes its whole table: a page that is not what its checksum
says, though no entry touched it since, is a fault of this memory for certain, and nobody else has
to be asked. Then it notes position and state digest in meta (lua/digest.lua), and reads there,
once a second with the head, what others noted.

Who is wrong? The fold decides:

    it differs from what stands, at an equal position    out: serves nothing, drops memory, loads
                                                         the newest checkpoint and folds the log
    two replicas say the same                            that stands, whatever came first
    a replica that has loaded and folded anew says so    counts as two
    it differs again from what two have said             stays out and loads again, every 5 s: its
                                                         processor or build is at fault
    nobody has said what stands for four intervals       it stands no more: all were replaced

While a difference is open, a replica that has loaded anew serves only after it has compared at that
position, or when the newest checkpoint is past it already: then that checkpoint is the answer. So
a checkpoint that a faulty memory wrote is believed, and all replicas agree on it; a page that no
entry touched cannot get into one altered (ftrl_core.checkpoint). Comparing costs no entry of the
log, and a comparison that Redis does not answer is left out.
"""

from __future__ import annotations

import asyncio
import time

from app.errors import LogError
from app.event_log import Head
from app.folding import Doubt
from app.lua_scripts import Script
from app.redis_connections import RedisConnections
from app.redis_keys import ModelKeys
from ftrl_core.model import Model
from ftrl_core.position import Position

OWN_MAX = 8  # of this replica's digests remembered, by position
TABLE_BYTES_FREE = 256 << 20  # hashed in 30 to 60 ms
IDLE_FACTOR = 1.5  # of the interval without a comparison: then compare at the head
UNSAID_FACTOR = 4  # of the interval: what nobody said for so long stands no more

Said = tuple[Position, str]  # a position and the state digest there


class Differs(Doubt):
    """This replica's state is not what it should be."""


class Agreement:
    """What this replica and the others have said of their states; one for a replica."""

    def __init__(
        self, connections: RedisConnections, keys: ModelKeys, incarnation: str, seconds: float
    ) -> None:
        self._connections = connections
        self._keys = keys
        self._incarnation = incarnation
        self._seconds = seconds
        self._script = Script("digest")
        self._own: dict[Position, str] = {}
        self._stands: Said | None = None
        self._head_seq = 0  # at the start: what lies before is replayed, not compared
        self._loaded_anew = False  # since this replica was found to differ
        self._interval_ms = 1
        self._idle_due = 0.0
        self.comparisons = 0
        self.differences = 0

    @property
    def stands(self) -> dict[str, str] | None:
        """What stands, as last heard."""
        return None if self._stands is None else _shown(self._stands)

    @property
    def own(self) -> dict[str, str] | None:
        """What this replica said last."""
        return _shown(list(self._own.items())[-1]) if self._own else None

    def load_from(self, head: Head) -> None:
        """The memory is loaded now, from a log with this head."""
        self._own.clear()
        self._head_seq = head.seq
        self._stands = _standing(head)
        self._postpone(1)

    def look(self, head: Head) -> None:
        """Compare with what others said meanwhile; raises Differs."""
        self._stands = _standing(head)
        self._judge(self._stands)

    def seconds_until_idle_due(self) -> float:
        """How long until the head is compared if no entry comes."""
        return max(0.0, self._idle_due - time.monotonic())

    def is_due(self, position: Position, last_ms: int, next_ms: int) -> bool:
        """Whether to compare at this position, between entries of these append times."""
        stands = self._stands[0] if self._stands is not None else None
        if position == stands:
            return position not in self._own
        if not last_ms or position.seq < (stands.seq if stands is not None else self._head_seq):
            return False
        return last_ms // self._interval_ms != next_ms // self._interval_ms

    async def settle(self, model: Model) -> None:
        """Compare if others have said something of the position that was loaded; raises Differs."""
        if self.is_due(model.position, 0, 0):
            await self.compare(model)

    async def compare_idle(self, model: Model) -> None:
        """Compare if nothing was compared for long; raises Differs."""
        if not self.seconds_until_idle_due():
            await self.compare(model)

    def _unsaid_seconds(self) -> int:
        return max(1, UNSAID_FACTOR * self._interval_ms // 1000)

    def _postpone(self, table_bytes: int) -> None:
        scale = max(1.0, table_bytes / TABLE_BYTES_FREE)
        self._interval_ms = max(1, round(1000 * self._seconds * scale))
        self._idle_due = time.monotonic() + IDLE_FACTOR * self._interval_ms / 1000

    async def compare(self, model: Model) -> None:
        """Examine the memory, say its digest, and hear the others'; raises Differs."""
        altered, digest = await asyncio.to_thread(_examined, model)
        self._postpone(model.table.cells.nbytes)
        if altered is not None:
            self._out(f"page {altered} changed in memory, and no entry touched it")
        votes = 2 if self._loaded_anew else int(self._own.get(model.position) != digest)
        try:
            self._judge(await self._heard())  # of the position before, which this one replaces
            self._remember(model.position, digest)
            self._stands = await self._said(model.position, digest, votes)
        except LogError:
            return
        self._judge(self._stands)
        self.comparisons += 1
        if self._stands is not None and self._stands[0] == model.position:
            self._loaded_anew = False

    def _remember(self, position: Position, digest: str) -> None:
        self._own[position] = digest
        for old in list(self._own)[:-OWN_MAX]:
            del self._own[old]

    async def _heard(self) -> Said | None:
        text = await self._connections.read_command("HGET", self._keys.meta, "agreement")
        return _parsed((text or b"").decode())

    async def _said(self, position: Position, digest: str, votes: int) -> Said | None:
        """Say it; what stands now."""
        reply = await self._script.call(
            self._connections,
            (self._keys.meta,),
            (self._incarnation, str(position), digest, votes, self._unsaid_seconds()),
        )
        return _parsed(b" ".join(reply).decode())

    def _judge(self, stands: Said | None) -> None:
        if stands is not None and self._own.get(stands[0], stands[1]) != stands[1]:
            position, digest = stands
            own = self._own[position]
            self._out(f"at {position} the state digest is {own}, and {digest} elsewhere")

    def _out(self, detail: str) -> None:
        self.differences += 1
        self._loaded_anew = True
        raise Differs(detail)


def _examined(model: Model) -> tuple[int | None, str]:
    """A page that changed by itself, if there is one, and the digest to agree on."""
    return model.table.altered_page(), model.agreed_digest()


def _shown(said: Said) -> dict[str, str]:
    return {"position": str(said[0]), "digest": said[1]}


def _standing(head: Head) -> Said | None:
    """What stands in meta; of a position that the log does not have it is damaged, and nothing."""
    said = _parsed(head.agreement)
    return said if said is not None and said[0].seq <= head.seq else None


def _parsed(text: str) -> Said | None:
    """Position and digest that stand; None when nobody said anything, or nothing that we read."""
    words = text.split()
    try:
        return (Position.parse(words[0]), words[1]) if words else None
    except (ValueError, IndexError):
        return None
