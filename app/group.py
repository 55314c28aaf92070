"""Group commit: requests that arrived together become the entries of one append.

    requests   A (3 rows, key)   B (1 row)   C (40,000 features, key)
    entries    [ A B C1 ]  [ C2 ]            C2 continues C: it takes the verdict of C1

A request is never divided over two appends, so it is all in the log or not at all. Its key is named
where it begins; rows in later entries are marked as continuing. Nothing here waits or writes: the
replica calls `plan` before an append and `outcomes` after the fold.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from app.errors import IdempotencyConflict
from app.failpoints import failpoint
from ftrl_core.batch import ExampleBatch
from ftrl_core.constants import F64
from ftrl_core.deduplication import CONFLICT, DUPLICATE, LEARN
from ftrl_core.entry import RequestPart, encode_examples, plan_entries, request_table
from ftrl_core.model import Applied
from ftrl_core.position import Position

GROUP_FEATURES_MAX = 1 << 18  # of one append, unless a single request is larger


@dataclass(frozen=True, slots=True)
class LearnOutcome:
    """What a learned request is told; predictions float64[rows], NaN for duplicates."""

    position: Position
    accepted: int
    duplicates: int
    predictions: F64


@dataclass(slots=True, eq=False)
class LearnRequest:
    """A request waiting for its append; `done` is resolved by the replica's own task."""

    batch: ExampleBatch
    hash_seed: int  # under which the batch was hashed
    key_number: int
    idempotency_key: int
    body_hash: int
    covered: bool  # has a key or ids throughout, so a retry cannot count twice
    done: asyncio.Future[LearnOutcome] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


def new_nonce() -> str:
    """16 hexadecimal digits of 64 random bits: drawn here, since Lua's repeat after a restart."""
    return secrets.token_hex(8)


def take_group(queue: list[LearnRequest]) -> list[LearnRequest]:
    """Remove from the front of the queue what goes into one append."""
    features = 0
    count = 0
    for request in queue:
        features += request.batch.nnz
        if count and features > GROUP_FEATURES_MAX:
            break
        count += 1
    group = queue[:count]
    del queue[:count]
    return group


class LearnQueue:
    """Requests that wait for the next append, in order."""

    def __init__(self) -> None:
        self._requests: list[LearnRequest] = []
        self.features = 0

    def __bool__(self) -> bool:
        return bool(self._requests)

    def put(self, request: LearnRequest) -> None:
        """At the end."""
        self._requests.append(request)
        self.features += request.batch.nnz

    def next_group(self) -> list[LearnRequest]:
        """Remove what goes into one append."""
        group = take_group(self._requests)
        self.features -= sum(request.batch.nnz for request in group)
        return group

    def fail(self, error: Exception) -> None:
        """Tell all of them the same error; empties the queue."""
        requests, self._requests, self.features = self._requests, [], 0
        fail(requests, error)


def plan(group: Sequence[LearnRequest]) -> Iterator[tuple[bytes, str]]:
    """The entries of a group, made one by one: (payload, nonce) each, nonces drawn at random."""
    batch = ExampleBatch.concatenate([request.batch for request in group])
    ends = list(accumulate(request.batch.rows for request in group))
    for first, last in plan_entries(batch):
        parts = request_table(_parts(group, ends, first, last))
        yield encode_examples(batch.slice(first, last), parts), new_nonce()
    failpoint("group.planned")


def _parts(
    group: Sequence[LearnRequest], ends: Sequence[int], first: int, last: int
) -> list[RequestPart]:
    """The shares of the requests in rows first:last of the group's batch."""
    parts = []
    for request, end in zip(group, ends, strict=True):
        start = end - request.batch.rows
        rows = min(end, last) - max(start, first)
        if rows > 0:
            parts.append(
                RequestPart(
                    rows,
                    request.key_number,
                    request.idempotency_key,
                    request.body_hash,
                    continues=start < first,
                )
            )
    return parts


def resolve(group: Sequence[LearnRequest], folded: Sequence[tuple[Position, Applied]]) -> None:
    """Tell each request what the fold of its entries said."""
    predictions = np.concatenate([applied.predictions for _, applied in folded])
    verdicts = b"".join(applied.verdicts.tobytes() for _, applied in folded)
    ends = list(accumulate(applied.verdicts.size for _, applied in folded))
    start = entry = 0
    for request in group:
        end = start + request.batch.rows
        while ends[entry] < end:
            entry += 1
        if not request.done.done():
            _resolve_one(request, folded[entry][0], predictions[start:end], verdicts[start:end])
        start = end
    failpoint("group.resolved")


def _resolve_one(
    request: LearnRequest, position: Position, predictions: F64, verdicts: bytes
) -> None:
    if verdicts.count(CONFLICT):
        detail = "the Idempotency-Key came before with another body"
        request.done.set_exception(IdempotencyConflict(detail))
        return
    accepted, duplicates = verdicts.count(LEARN), verdicts.count(DUPLICATE)
    request.done.set_result(LearnOutcome(position, accepted, duplicates, predictions))


def fail(group: Sequence[LearnRequest], error: Exception) -> None:
    """Tell each request of a group the same error."""
    for request in group:
        if not request.done.done():
            request.done.set_exception(error)
