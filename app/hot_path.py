"""POST /learn and POST /predict, as plain ASGI: what runs for nearly every request.

    body (bounded) ─► ingest.decode_body ─► ExampleBatch ─► replica.learn / replica.predict ─► reply

There is no validation model, no Response object and no routing here. A body above DECODE_INLINE is
decoded in a thread: the kernels release the lock, so other requests go on meanwhile; below it, the
hop would cost more than the work.

Every 5xx of /learn says its `outcome`. Up to the moment the batch is handed to the replica that is
`not_learned`, whatever happened; afterwards the replica says, and what nobody foresaw is `unknown`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
from starlette.types import Receive, Scope, Send

from app.failpoints import failpoint
from app.group import LearnOutcome, LearnRequest
from app.hub import Hub
from app.ingest import Decoded, decode_body
from app.ingest.content import VW_TEXT
from app.ingest.explained import explanations_document
from app.ingest.field_names import field_names
from app.key_lines import Key
from app.learning_budget import LearningBudgets
from app.problems import RETRY_AFTER_SECONDS, Outcome, Problem, problem_from, send_problem
from app.replica import ModelReplica
from app.replies import encode_json, send_reply
from app.request_body import BodyReader, ClientGone, header, headers
from ftrl_core.errors import ClickfoldError
from ftrl_core.hashing import xxh64
from ftrl_core.limits import Limits
from ftrl_core.position import Position

logger = logging.getLogger("clickfold.http")

FAILED = "the request failed"
DECODE_INLINE_BYTES = 256 << 10
DECODE_THREADS = 1  # with more of them the event loop waits longer for the interpreter
MIN_POSITION_SECONDS = 5.0
IDEMPOTENCY_KEY_CHARS = 256
EXPLAINED_ROWS_MAX = 100
QUERY_FIELDS_MAX = 16
OK = 200


class HotPath:
    """The two endpoints over the models of a hub."""

    def __init__(
        self, hub: Hub, limits: Limits, reader: BodyReader, budgets: LearningBudgets
    ) -> None:
        self._hub = hub
        self._limits = limits
        self._reader = reader
        self._budgets = budgets
        self._decoding = asyncio.Semaphore(DECODE_THREADS)

    async def learn(self, scope: Scope, receive: Receive, send: Send, model: str, key: Key) -> int:
        """Answer a POST /learn; the status that was sent."""
        outcome: Outcome = "not_learned"
        try:
            options = query_options(scope, ("predictions", "id"))
            with_predictions = _flag(options, "predictions", default=True)
            named = _idempotency_key(scope)
            self._budgets.check(key)
            replica = await self._hub.get(model)
            seed = replica.require_model().config.hash_seed
            decoded = await self._decoded(scope, receive, seed, options, for_learning=True)
            self._budgets.spend(key, decoded.batch.rows, replica.authors)
            outcome = "unknown"  # until the replica says otherwise
            learned = await asyncio.shield(submitted(replica, decoded, seed, named, key))
        except (ClickfoldError, Problem) as error:
            return await _send_refusal(send, learn_problem(error, outcome))
        except (ClientGone, asyncio.CancelledError):
            raise
        except Exception:  # the outermost loop of a request; the gate does not know the outcome
            logger.exception("a request to learn failed")
            problem = learn_problem(Problem("internal-error", FAILED), outcome)
            return await _send_refusal(send, problem)
        await send_reply(send, OK, learn_reply(replica, learned, with_predictions))
        replied()
        return OK

    async def predict(
        self, scope: Scope, receive: Receive, send: Send, model: str, _key: Key
    ) -> int:
        """Answer a POST /predict; the status that was sent. The key has been checked."""
        try:
            options = query_options(scope, ("min_position", "uncertainty", "explain", "id"))
            awaited = _position(options)
            with_uncertainty = _flag(options, "uncertainty", default=False)
            with_explanations = _flag(options, "explain", default=False)
            replica = await self._hub.get(model)
            seed = replica.require_model().config.hash_seed
            decoded = await self._decoded(scope, receive, seed, options, for_learning=False)
            if awaited is not None and not await replica.wait_for(awaited, MIN_POSITION_SECONDS):
                raise _not_reached(awaited)
            position, predictions = replica.predict(decoded.batch)
            uncertainty = replica.uncertainty(decoded.batch) if with_uncertainty else None
            explanations = _explained(replica, decoded) if with_explanations else None
        except ClickfoldError as error:
            raise problem_from(error) from error
        reply: dict[str, Any] = {
            "model": replica.name,
            "position": str(position),
            "predictions": predictions.tolist(),
        }
        if uncertainty is not None:
            reply["uncertainty"] = uncertainty.tolist()
        if explanations is not None:
            reply["explanations"] = explanations
        stale_seconds = replica.stale_seconds()
        if stale_seconds > 0:
            reply["stale_seconds"] = round(stale_seconds, 3)
        await send_reply(send, OK, encode_json(reply))
        return OK

    async def _decoded(
        self,
        scope: Scope,
        receive: Receive,
        hash_seed: int,
        options: dict[str, str],
        *,
        for_learning: bool,
    ) -> Decoded:
        """The request's examples; what a refusal looks like is in app.ingest."""
        id_from_tag = _id_from_tag(options, scope)
        try:
            body = await self._reader.read(scope, receive)
            return await self._decoded_body(scope, body, hash_seed, for_learning, id_from_tag)
        except MemoryError:
            raise _no_memory() from None

    async def _decoded_body(
        self, scope: Scope, body: bytes, hash_seed: int, for_learning: bool, id_from_tag: bool
    ) -> Decoded:
        encoding = header(scope, b"content-encoding")
        try:
            decode = partial(
                decode_body,
                body,
                content_type=_text(header(scope, b"content-type")),
                content_encoding=_text(encoding),
                hash_seed=hash_seed,
                require_labels=for_learning,
                id_from_tag=id_from_tag,
                limits=self._limits,
            )
            # What is compressed is small as it comes and large when it is read.
            if len(body) <= DECODE_INLINE_BYTES and encoding is None:
                return decode()
            async with self._decoding:
                return await _in_thread(decode)
        finally:
            self._reader.release(len(body))


async def _in_thread(decode: Callable[[], Decoded]) -> Decoded:
    """As asyncio.to_thread; MemoryError too where there is no room for the first thread's stack."""
    try:
        return await asyncio.to_thread(decode)
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise MemoryError from error


def _no_memory() -> Problem:
    detail = "there is no memory for the body now"
    return Problem("busy", detail, outcome="not_learned", retry_after=RETRY_AFTER_SECONDS)


def _explained(replica: ModelReplica, decoded: Decoded) -> list[dict[str, Any]]:
    if decoded.batch.rows > EXPLAINED_ROWS_MAX:
        detail = f"at most {EXPLAINED_ROWS_MAX} examples of a request are explained"
        raise Problem("bad-query", detail)
    config = replica.require_model().config
    return explanations_document(replica.explain(decoded.batch), decoded, config)


def submitted(
    replica: ModelReplica, decoded: Decoded, seed: int, named: bytes | None, key: Key
) -> asyncio.Future[LearnOutcome]:
    """Hand a request to its replica. Raises Unavailable, ModelNotFound."""
    failpoint("learn.decoded")
    batch = decoded.batch
    if batch.rows == 0:  # nothing to append: the position is the present one
        nothing = replica.new_future()
        nothing.set_result(LearnOutcome(replica.require_model().position, 0, 0, np.empty(0)))
        return nothing
    if replica.has_unheard_names(batch):
        replica.tell_names(field_names(decoded.body, decoded.kind))
    if replica.dictionary.hungry:
        replica.dictionary.feed(decoded, replica.require_model().config)
    return replica.submit(
        LearnRequest(
            batch,
            seed,
            key.number,
            (xxh64(named, seed) or 1) if named is not None else 0,
            xxh64(decoded.body) if named is not None else 0,
            named is not None or int(np.count_nonzero(batch.event_ids)) == batch.rows,
            replica.new_future(),
        )
    )


def learn_reply(replica: ModelReplica, learned: LearnOutcome, with_predictions: bool) -> bytes:
    """The body of the 200."""
    failpoint("learn.learned")
    reply: dict[str, Any] = {
        "model": replica.name,
        "position": str(learned.position),
        "accepted": learned.accepted,
        "duplicates": learned.duplicates,
        "durability": replica.durability,
    }
    if with_predictions:
        reply["predictions"] = learned.predictions.tolist()
    return encode_json(reply)


def replied() -> None:
    """To be called when that reply has left."""
    failpoint("learn.replied")


def learn_problem(error: ClickfoldError | Problem, outcome: Outcome) -> Problem:
    """What a refused learner is told; every 5xx says its outcome."""
    problem = error if isinstance(error, Problem) else problem_from(error)
    if problem.status >= 500 and problem.outcome is None:
        problem.outcome = outcome
    return problem


async def _send_refusal(send: Send, problem: Problem) -> int:
    await send_problem(send, problem)
    return problem.status


def query_options(scope: Scope, allowed: tuple[str, ...]) -> dict[str, str]:
    """The query's parameters; Problem 422 for one that is unknown, repeated or not readable."""
    query: bytes = scope["query_string"]
    if not query:
        return {}
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=QUERY_FIELDS_MAX,
        )
    except ValueError:
        raise Problem("bad-query", "the query cannot be read") from None
    options = dict(pairs)
    if len(options) != len(pairs):
        raise Problem("bad-query", "a query parameter is repeated")
    if not options.keys() <= set(allowed):
        raise Problem("bad-query", f"the query parameters here are: {', '.join(allowed)}")
    return options


def _flag(options: dict[str, str], name: str, *, default: bool) -> bool:
    text = options.get(name)
    if text not in (None, "true", "false"):
        raise Problem("bad-query", f"{name} is true or false")
    return default if text is None else text == "true"


def _id_from_tag(options: dict[str, str], scope: Scope) -> bool:
    """Whether the tag of Vowpal Wabbit text is the event id; other bodies have no tags."""
    if "id" not in options:
        return False
    is_vw = _text(header(scope, b"content-type")).lower().startswith(VW_TEXT)
    if options["id"] != "tag" or not is_vw:
        raise Problem("bad-query", f"id is tag, and for {VW_TEXT} only")
    return True


def _position(options: dict[str, str]) -> Position | None:
    text = options.get("min_position")
    if text is None:
        return None
    try:
        return Position.parse(text)
    except ValueError as error:
        raise Problem("bad-query", f"min_position: {error}") from None


def _not_reached(awaited: Position) -> Problem:
    return Problem(
        "position-not-reached",
        f"{awaited} was not reached in {MIN_POSITION_SECONDS:g} s",
        retry_after=RETRY_AFTER_SECONDS,
    )


def _idempotency_key(scope: Scope) -> bytes | None:
    given = headers(scope, b"idempotency-key")
    if not given:
        return None
    key = given[0]
    visible = all(0x21 <= byte <= 0x7E for byte in key)
    if len(given) > 1 or not visible or not 1 <= len(key) <= IDEMPOTENCY_KEY_CHARS:
        raise Problem("bad-idempotency-key", "one key, of 1 to 256 visible ASCII characters")
    return key


def _text(value: bytes | None) -> str:
    return value.decode("latin-1") if value is not None else ""
