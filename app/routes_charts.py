"""What pages are drawn from: history, reliability, slices, the table, and the live stream.

Each route is JSON, or CSV with `?format=csv`; docs/observing.md has every field. What is read of
the model is copied between two entries, and made into a document in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.csv_text import csv_columns, csv_rows
from app.dependencies import LookingOf, ReplicaOf, StreamsOf
from app.hot_path import query_options
from app.problems import Problem
from app.replica import ModelReplica
from app.replies import json_reply
from app.schemas import ChartReply, problems
from ftrl_core import reports, slice_reports
from ftrl_core.metrics import window_figures
from ftrl_core.reports import Looked

router = APIRouter(tags=["observe"])
STREAM_SECONDS_MAX = 86_400.0
TOP_MAX = 1000
CSV = "text/csv; charset=utf-8"
_CHART: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
    **problems(404, 422, 503),
}
_LINES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}},
    **problems(404, 422, 503),
}


@router.get(
    "/stats/history", summary="Metrics over time", response_model=ChartReply, responses=_CHART
)
async def history(request: Request, replica: ReplicaOf) -> Response:
    """Of the whole stream so far and since the point before, at fixed numbers of examples."""
    return await _chart(request, replica, reports.history)


@router.get(
    "/stats/reliability",
    summary="How often is clicked what is predicted",
    response_model=ChartReply,
    responses=_CHART,
)
async def reliability(request: Request, replica: ReplicaOf) -> Response:
    """Examples, clicks and predictions by bins of the prediction: whole stream and window."""
    return await _chart(request, replica, reports.reliability)


@router.get(
    "/stats/slices",
    summary="Figures by the values of chosen features",
    response_model=ChartReply,
    responses=_CHART,
)
async def slices(request: Request, replica: ReplicaOf) -> Response:
    """Of each feature named in the configuration's `slices`, and lately beside over all."""
    is_csv = wants_csv(request)
    model = replica.require_model()
    position, tables = str(model.position), model.slices.tables()
    whole, ring = model.metrics.whole(), model.metrics.ring()
    document = await asyncio.to_thread(slice_reports.slices, tables, replica.dictionary.of)
    if is_csv:
        return Response(csv_rows(*slice_reports.rows(document)), media_type=CSV)
    overall = {**whole, "window": await asyncio.to_thread(window_figures, *ring)}
    shown = {"model": replica.name, "position": position, "overall": overall, **document}
    return json_reply(shown)


@router.get(
    "/stats/table",
    summary="How full the table is, and how weights are spread",
    response_model=ChartReply,
    responses=_CHART,
)
async def table(request: Request, replica: ReplicaOf, looking: LookingOf) -> Response:
    """Occupancy, sparsity, collisions (estimated, and of known names), histograms."""
    is_csv = wants_csv(request)
    document = await looking.tables.table(replica)
    if is_csv:
        bins = [("weights", document["weights"]), ("n", document["n"])]
        rows = [
            (of, *row)
            for of, columns in bins
            for row in zip(columns["low"], columns["high"], columns["count"], strict=True)
        ]
        return Response(csv_rows(["of", "low", "high", "count"], rows), media_type=CSV)
    return json_reply({"model": replica.name, **document})


@router.get(
    "/stats/features",
    summary="Features with the largest weights, and those that changed most",
    response_model=ChartReply,
    responses=_CHART,
)
async def features(request: Request, replica: ReplicaOf, looking: LookingOf) -> Response:
    """By size of weight and by change since a remembered look, with the names that are known."""
    is_csv = wants_csv(request, "top")
    document = await looking.tables.features(replica, _top(request))
    if is_csv:
        rows = [
            (by, *("; ".join(x) if isinstance(x, list) else x for x in row.values()))
            for by in ("by_weight", "by_change")
            for row in document[by]
        ]
        header = ["by", "slot", "names", "weight", "n", "before", "change", "listed"]
        return Response(csv_rows(header, rows), media_type=CSV)
    return json_reply({"model": replica.name, **document})


@router.get("/stats/stream", summary="One line a second", response_class=Response, responses=_LINES)
async def stream(request: Request, replica: ReplicaOf, streams: StreamsOf) -> Response:
    """What is known without walking the table, as application/x-ndjson."""
    options = query_options(request.scope, ("seconds",))
    return streams.reply(replica, _seconds(options.get("seconds")))


async def _chart(
    request: Request, replica: ModelReplica, report: Callable[[Looked], dict[str, Any]]
) -> Response:
    is_csv = wants_csv(request)
    model = replica.require_model()
    position, looked = str(model.position), Looked.at(model.metrics)
    document = await asyncio.to_thread(report, looked)
    if is_csv:
        return Response(csv_columns(document), media_type=CSV)
    return json_reply({"model": replica.name, "position": position, **document})


def wants_csv(request: Request, *others: str) -> bool:
    """Whether the query says format=csv; Problem 422 for another one."""
    form = query_options(request.scope, ("format", *others)).get("format", "json")
    if form not in ("json", "csv"):
        raise Problem("bad-query", "format is json or csv")
    return form == "csv"


def _top(request: Request) -> int:
    text = query_options(request.scope, ("format", "top")).get("top", "50")
    if not text.isdecimal() or not text.isascii() or not 1 <= int(text[:9]) <= TOP_MAX:
        raise Problem("bad-query", f"top is a number from 1 to {TOP_MAX}")
    return int(text)


def _seconds(text: str | None) -> float:
    if text is None:
        return STREAM_SECONDS_MAX
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= STREAM_SECONDS_MAX:
        raise Problem("bad-query", f"seconds is above 0 and at most {STREAM_SECONDS_MAX:.0f}")
    return seconds
