"""Watching the service: /stats, /metrics, the probes, and skipping an entry that cannot be read.

The probes need no key, so they name no model and load none. Ready means that state is loaded and
verified and kernels are compiled; it stays so while Redis is away, since /predict goes on, and the
body says `"learn": false`. `/readyz?for=learn` wants Redis too.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.dependencies import (
    HubOf,
    KeyOf,
    KeysOf,
    Looking,
    LookingOf,
    ModelName,
    ObjectOf,
    ReplicaOf,
)
from app.hot_path import query_options
from app.hub import Hub
from app.problems import Problem
from app.prometheus import CONTENT_TYPE, exposition
from app.replies import json_reply
from app.schemas import (
    POSITION_PATTERN,
    LiveReply,
    MovedReply,
    ReadyReply,
    StartedReply,
    StatsReply,
    object_body,
    problems,
)
from ftrl_core.position import Position

router = APIRouter(tags=["observe"])
_READY = 200
_NOT_READY = 503
_SKIP = object_body(
    "The position that cannot be read, as /stats and the log name it.",
    {"position": {"type": "string", "pattern": POSITION_PATTERN}},
    {"position": "1-42"},
    required=True,
    needs=["position"],
)
_METRICS: dict[str, Any] = {
    "description": "the text format of Prometheus",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}
_PROBE: dict[int | str, dict[str, Any]] = {503: {"model": ReadyReply, "description": "not ready"}}


@router.get(
    "/stats",
    summary="Progressive metrics, counts and health",
    response_model=StatsReply,
    responses=problems(404, 503),
)
async def stats(request: Request, replica: ReplicaOf, keys: KeysOf) -> Response:
    """The fold's own figures: every prediction counted was made before its label was learned."""
    query_options(request.scope, ())
    figures = await replica.stats()
    return json_reply({**figures, "authors": replica.authors.to_dict(keys.names)})


@router.get("/livez", summary="Is the process alive", response_model=LiveReply)
async def livez() -> Response:
    """200 as long as the event loop turns."""
    return json_reply({"live": True})


@router.get(
    "/startupz",
    summary="Has the service started",
    response_model=StartedReply,
    responses={503: {"model": StartedReply, "description": "not started"}},
)
async def startupz() -> Response:
    """200 once kernels are compiled and models can be served; see /readyz for whether they are."""
    return json_reply({"started": True})


@router.get(
    "/readyz",
    summary="Can the service answer",
    response_model=ReadyReply,
    responses=_PROBE,
)
async def readyz(request: Request, hub: HubOf, keys: KeysOf) -> Response:
    """200 when /predict can be answered; with `?for=learn`, when /learn can be too."""
    options = query_options(request.scope, ("for",))
    if options.get("for") not in (None, "learn", "predict"):
        raise Problem("bad-query", "for is learn or predict")
    ready, body = hub.ready()
    if not keys.is_empty:
        body.pop("models", None)  # a probe has no key, and names are for those who have one
    if options.get("for") == "learn":
        ready = ready and bool(body.get("learn", False))
    return json_reply({**body, "ready": ready}, _READY if ready else _NOT_READY)


@router.post(
    "/admin/skip",
    summary="Skip an entry that cannot be read",
    response_model=MovedReply,
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=_SKIP,
)
async def skip(replica: ReplicaOf, given: ObjectOf) -> Response:
    """Pass over the one entry this replica is stuck before; refused unless nothing else helps."""
    text = given.get("position")
    try:
        position = Position.parse(text if isinstance(text, str) else "")
    except ValueError as error:
        raise Problem("bad-config", f"position: {error}") from None
    reached = await replica.skip(position)
    return json_reply({"model": replica.name, "position": str(reached)})


metrics_router = APIRouter(tags=["observe"])
model_metrics_router = APIRouter(tags=["observe"])


@metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={**problems(), 200: _METRICS},
)
async def metrics(hub: HubOf, key: KeyOf, looking: LookingOf) -> Response:
    """Requests, and every model that is loaded and that the key may see; of all workers."""
    documents = await looking.workers.all()
    names = {name for one in documents for name in one["models"]}
    visible = sorted(name for name in names if key.may_use(name))
    windows = await _windows(hub, visible, looking)
    body = exposition(documents, visible, windows, with_requests=True)
    return Response(body, media_type=CONTENT_TYPE)


@model_metrics_router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={**problems(404), 200: _METRICS},
)
async def model_metrics(hub: HubOf, looking: LookingOf, model: ModelName) -> Response:
    """One model, if it is loaded."""
    documents = await looking.workers.all()
    windows = await _windows(hub, [model], looking)
    body = exposition(documents, [model], windows, with_requests=False)
    return Response(body, media_type=CONTENT_TYPE)


async def _windows(hub: Hub, names: list[str], looking: Looking) -> dict[str, dict[str, Any]]:
    """The windows of the models that are loaded here."""
    found = [hub.find_loaded(name) for name in names]
    return {one.name: await looking.windows.of(one) for one in found if one is not None}
