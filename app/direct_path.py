"""POST /predict answered while its bytes are received: no task, no scope, no routing.

    head of the request, byte for byte one that was admitted before on this connection
      │                                                  (app/direct_protocol.py)
      └─► body ─► features, raw ─► score_rows ─► reply       microseconds, without an await

Whatever is unusual (a query, a Content-Encoding, an example with a weight, an error of any kind, a
model that is not loaded, a Redis that is away) is answered by None: then the request goes the way
of all others, through the gate to `hot_path`, which knows every rule and words every refusal. So
this file has no rules of its own, and its replies are those of `hot_path`, byte for byte.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.types import Scope

from app.admission import Admission
from app.hub import Hub
from app.ingest import UnsupportedMediaType, plain_features
from app.ingest.content import media_type
from app.problems import Problem
from app.prometheus import RequestMeter
from app.replies import encode_json
from app.request_body import header, headers
from app.route_table import MODEL_PREFIX, match_path
from ftrl_core.json_score import FeatureTexts
from ftrl_core.limits import Limits

BODY_BYTES_MAX = 64 << 10  # a body that is scored without letting others have their turn
PREDICT = "/predict"


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """What every request with one head has in common."""

    template: str
    model: str
    model_json: bytes
    length: int  # of the body


class DirectPath:
    """The direct way of a process, over the models of a hub."""

    def __init__(self, hub: Hub, limits: Limits, admission: Admission, meter: RequestMeter) -> None:
        self._hub = hub
        self._limits = limits
        self._admission = admission
        self._meter = meter
        self._bytes_max = min(BODY_BYTES_MAX, limits.body_bytes, limits.decompressed_bytes)
        self._room = FeatureTexts(limits, self._bytes_max)

    def route(self, scope: Scope) -> DirectRoute | None:
        """The route of every request with this head; None where it has to go the usual way."""
        lengths = headers(scope, b"content-length")
        if len(lengths) != 1 or not lengths[0].isdigit() or int(lengths[0]) > self._bytes_max:
            return None
        if scope["query_string"] or not _is_plain_json(scope):
            return None
        try:
            match, _ = self._admission.admit(scope, match_path(scope["path"]))
        except Problem:
            return None
        if match.model is None or match.route.template not in (PREDICT, MODEL_PREFIX + PREDICT):
            return None
        name = encode_json(match.model)
        return DirectRoute(match.route.template, match.model, name, int(lengths[0]))

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
            route.model_json,
            *model.position,
            encode_json(predictions.tolist()),
        )
        self._meter.count(route.template, "POST", 200, time.perf_counter() - started)
        return reply


def _is_plain_json(scope: Scope) -> bool:
    content_type = header(scope, b"content-type")
    try:
        kind = media_type(content_type.decode("latin-1") if content_type is not None else None)
    except UnsupportedMediaType:
        return False
    return kind == "application/json" and not headers(scope, b"content-encoding")
