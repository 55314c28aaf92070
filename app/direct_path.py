"""POST /learn and /predict answered where their bytes are received: no task, no scope, no routing.

    head of the request, but for its length one that was admitted before on this connection
      │                                                   (app/direct_protocol.py)
      ├─► /predict  body ─► features, raw ─► score_rows ─► reply      microseconds, no await
      └─► /learn    body ─► ExampleBatch ─► replica.submit ─► a future, whose result is the reply

Whatever is unusual (a query that matters, a Content-Encoding, a body that is refused, a model that
is not loaded, a Redis that is away) is answered by None: then the request goes the way of all
others, through the gate to `hot_path`, which knows every rule and words every refusal. So this file
has no rules of its own, and its replies are those of `hot_path`, byte for byte.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from starlette.types import Scope

from app.admission import Admission
from app.group import LearnOutcome
from app.hot_path import FAILED, OK, learn_problem, learn_reply, replied, submitted
from app.hub import Hub
from app.ingest import Decoded, UnsupportedMediaType, plain_features
from app.ingest.content import JSON_TEXT, media_type
from app.ingest.decoding import DECODERS
from app.key_lines import Key
from app.learning_budget import LearningBudgets
from app.problems import PROBLEM_JSON, Problem
from app.replica import ModelReplica
from app.replies import JSON, Headers, encode_json
from app.request_body import header, headers
from app.request_meter import RequestMeter
from app.route_table import MODEL_PREFIX, match_path
from ftrl_core.errors import ClickfoldError
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits

logger = logging.getLogger("clickfold.http")

# Of a body that is read without letting others have their turn: about 0.2 ms.
PREDICT_BYTES_MAX = 64 << 10
LEARN_BYTES_MAX = 128 << 10
LEARN, PREDICT = "/learn", "/predict"


class Reply(NamedTuple):
    """What is answered."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = []  # noqa: RUF012  beside the usual ones; nobody changes it


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """What every request with one head has in common."""

    template: str
    learns: bool
    model: str
    key: Key
    kind: str  # the media type of the body
    bytes_max: int  # of a body that is read here
    with_predictions: bool


class DirectPath:
    """The direct way of a process, over the models of a hub."""

    def __init__(
        self,
        hub: Hub,
        limits: Limits,
        admission: Admission,
        meter: RequestMeter,
        budgets: LearningBudgets,
    ) -> None:
        self._hub = hub
        self._budgets = budgets
        self._limits = limits
        self._admission = admission
        self._meter = meter
        self._bytes_max = min(limits.body_bytes, limits.decompressed_bytes)
        self._room = FeatureTexts(limits, PREDICT_BYTES_MAX)

    def route(self, scope: Scope) -> DirectRoute | None:
        """The route of every request with this head; None where it has to go the usual way."""
        path: str = scope["path"]
        if not path.endswith((LEARN, PREDICT)) or scope["query_string"] not in _QUERIES:
            return None
        learns = path.endswith(LEARN)
        lengths = headers(scope, b"content-length")
        kind = _plain_kind(scope)
        if len(lengths) != 1 or not lengths[0].isdigit() or kind not in DECODERS:
            return None
        if not learns and kind != JSON_TEXT:
            return None
        bytes_max = min(self._bytes_max, LEARN_BYTES_MAX if learns else PREDICT_BYTES_MAX)
        if int(lengths[0]) > bytes_max:
            return None
        try:
            match, key = self._admission.admit(scope, match_path(path))
        except Problem:
            return None
        template = match.route.template
        if match.model is None or template.removeprefix(MODEL_PREFIX) not in (LEARN, PREDICT):
            return None
        with_predictions = not scope["query_string"]
        if not learns and not with_predictions:
            return None
        return DirectRoute(template, learns, match.model, key, kind, bytes_max, with_predictions)

    def predict(self, route: DirectRoute, body: bytes) -> bytes | None:
        """The body of the reply with status 200; None where the request has to go the usual way."""
        started = time.perf_counter()
        replica = self._hub.find_loaded(route.model)
        model = replica.model if replica is not None else None
        if replica is None or model is None or replica.stale_seconds() > 0:
            return None
        features = plain_features(body, self._limits)
        predictions = model.predict_texts(features, self._room) if features else None
        if predictions is None:
            return None
        reply = b'{"model":%b,"position":"%d-%d","predictions":%b}' % (
            encode_json(replica.name),
            *model.position,
            encode_json(predictions.tolist()),
        )
        self._meter.count(route.template, "POST", OK, time.perf_counter() - started)
        return reply

    def learn(self, route: DirectRoute, body: bytes, answer: Callable[[Reply], None]) -> bool:
        """Whether the request was handed to its replica: then `answer` is called with the reply.

        Otherwise nothing has happened, and it has to go the usual way.
        """
        started = time.perf_counter()
        replica = self._hub.find_loaded(route.model)
        if replica is None:
            return False
        try:
            replica.refuse_learn()
            seed = replica.require_model().config.hash_seed
            decode = DECODERS[route.kind]
            decoded = Decoded(decode(body, self._limits, seed, True), body, route.kind)
            self._budgets.spend(route.key, decoded.batch.rows, replica.authors)
            done = submitted(replica, decoded, seed, None, route.key)
        except ClickfoldError:
            return False
        done.add_done_callback(partial(self._learned, replica, route, answer, started))
        return True

    def _learned(
        self,
        replica: ModelReplica,
        route: DirectRoute,
        answer: Callable[[Reply], None],
        started: float,
        done: asyncio.Future[LearnOutcome],
    ) -> None:
        """Answer a request that was handed to its replica."""
        try:
            learned = done.result()
            reply = Reply(OK, learn_reply(replica, learned, route.with_predictions))
        except (ClickfoldError, Problem) as error:
            reply = _refusal(error)
        except Exception:  # the outermost frame of a request
            logger.exception("a request to learn failed")
            reply = _refusal(Problem("internal-error", FAILED))
        self._meter.count(route.template, "POST", reply.status, time.perf_counter() - started)
        answer(reply)
        if reply.status == OK:
            replied()


# Of a query nothing but this is usual, and only for learning.
_QUERIES = (b"", b"predictions=false")


def _refusal(error: ClickfoldError | Problem) -> Reply:
    problem = learn_problem(error, "unknown")
    document = encode_json(problem.document())
    return Reply(problem.status, document, PROBLEM_JSON, problem.reply_headers())


def _plain_kind(scope: Scope) -> str:
    """The media type of a body that comes as it is, under no key of its own; else ""."""
    content_type = header(scope, b"content-type")
    try:
        kind = media_type(content_type.decode("latin-1") if content_type is not None else None)
    except UnsupportedMediaType:
        return ""
    special = headers(scope, b"content-encoding") + headers(scope, b"idempotency-key")
    return "" if special else kind
