"""The application: routes, the gate in front of them, and how errors leave.

`create_app` is given everything it needs, holds no global, and starts nothing: the hub is started
and closed by who made it (app/server.py, a test), so there is no lifespan here.

    uvicorn ─► [FastAPI's outer shell] ─► Gate ─┬─► HotPath: /learn, /predict
                                               └─► FastAPI's router ─► routes_*.py

Every route exists twice, for the model `default` and under /models/{model}. Routes return ready
Responses; FastAPI only routes, injects, and writes the OpenAPI document.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app import (
    routes_charts,
    routes_dashboard,
    routes_hot,
    routes_models,
    routes_observe,
    routes_pages,
    routes_snapshots,
)
from app.admission import Admission
from app.auth import KeyFile
from app.dependencies import documented_model
from app.direct_path import DirectPath
from app.gate import Gate
from app.hot_path import HotPath
from app.hub import Hub
from app.learning_budget import LearningBudgets
from app.light_figures import Windows, scraped
from app.live_stream import LiveStreams
from app.problems import Problem, problem_from, problem_reply
from app.request_body import BodyReader
from app.request_meter import RequestMeter
from app.request_room import RequestRoom
from app.route_table import MODEL_PREFIX
from app.settings import Settings
from app.snapshot_store import SnapshotStore
from app.snapshots import SnapshotDirectory
from app.table_looks import TableLooks
from app.worker_figures import WorkerFigures, WorkerPlace
from ftrl_core.errors import ClickfoldError

DESCRIPTION = """
Labelled examples stream in, per-coordinate FTRL-Proximal learns from each once, and predictions
come from the same weights.

Routes without a model in their path mean the model `default`; each exists under `/models/{model}`
too. Errors are `application/problem+json` (RFC 9457); nothing of a refused request is learned.
With keys, send `Authorization: Bearer KEY`.
"""
TAGS = [
    {"name": "learn and predict", "description": "What the service is for."},
    {"name": "models", "description": "Make, describe, change and delete models."},
    {"name": "snapshots", "description": "Named copies of a model, as files."},
    {"name": "observe", "description": "Metrics, probes, and repair."},
]

ROUTERS = (
    routes_hot.router,
    routes_models.router,
    routes_snapshots.router,
    routes_observe.router,
    routes_charts.router,
    routes_observe.metrics_router,
    routes_dashboard.router,
    routes_pages.router,
)
MODEL_ROUTERS = (  # again, under /models/{model}
    routes_hot.router,
    routes_snapshots.router,
    routes_observe.router,
    routes_charts.router,
    routes_observe.model_metrics_router,
)


def create_app(settings: Settings, hub: Hub, place: WorkerPlace | None = None) -> FastAPI:
    """The ASGI application over a hub. Raises BadConfig for keys that cannot be read, OSError."""
    app = FastAPI(
        title="Clickfold",
        version=_version(),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,  # routes_pages serves it, with the scopes added
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False},
        swagger_ui_parameters={"tryItOutEnabled": True},
    )
    key_file = KeyFile(
        settings.keys.get_secret_value() if settings.keys is not None else None,
        settings.keys_file,
    )
    keys = key_file.ring
    directory = SnapshotDirectory(settings.snapshots_path(), hub.require_room)
    limits = settings.limits()
    meter = RequestMeter()
    reader = BodyReader(limits.body_bytes, seconds=settings.body_seconds)
    app.state.settings = settings
    app.state.hub = hub
    app.state.keys = keys
    app.state.key_file = key_file
    app.state.meter = meter
    windows = Windows()
    workers = WorkerFigures(place or WorkerPlace(), partial(_told, meter, hub, key_file))
    if (before := workers.predecessor()) is not None:
        meter.go_on_from(before)
    app.state.windows, app.state.workers = windows, workers
    app.state.tables = TableLooks()
    app.state.streams = LiveStreams(workers, windows)
    app.state.reader = reader
    app.state.snapshots = SnapshotStore(directory, hub.connections, settings.key_prefix)
    add_routes(app)
    _add_error_handlers(app)
    budgets = LearningBudgets(settings.limit_key_rate, settings.limit_key_share)
    hot_path = HotPath(hub, limits, reader, budgets)
    admission = Admission(keys)
    app.state.direct = DirectPath(hub, limits, admission, meter, budgets)
    room = RequestRoom(settings.limit_requests)
    app.add_middleware(Gate, admission=admission, hot_path=hot_path, meter=meter, room=room)
    return app


def _told(meter: RequestMeter, hub: Hub, key_file: KeyFile) -> dict[str, Any]:
    """What this process tells the other workers."""
    names = key_file.ring.names
    models = {replica.name: scraped(replica, names) for replica in hub.loaded()}
    return {**meter.document(), "models": models}


def add_routes(app: FastAPI) -> None:
    """Every route, for `default` and under /models/{model}."""
    for router in ROUTERS:
        app.include_router(router)
    for router in MODEL_ROUTERS:
        app.include_router(router, prefix=MODEL_PREFIX, dependencies=[Depends(documented_model)])


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def refuse(_request: Request, problem: Problem) -> Response:
        return problem_reply(problem)

    @app.exception_handler(ClickfoldError)
    async def refuse_error(_request: Request, error: ClickfoldError) -> Response:
        return problem_reply(problem_from(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_query(_request: Request, _error: RequestValidationError) -> Response:
        # Its own message would repeat the input, which may not even be encodable.
        return problem_reply(Problem("bad-query", "a parameter is missing or wrong; see /docs"))

    @app.exception_handler(HTTPException)
    async def refuse_http(_request: Request, error: HTTPException) -> Response:
        slug = "not-found" if error.status_code == 404 else "bad-request"
        return problem_reply(Problem(slug, "no route answers this", status=error.status_code))


def _version() -> str:
    try:
        return version("clickfold")
    except PackageNotFoundError:  # run from a checkout that was not installed
        return "0"
