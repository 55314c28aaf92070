"""What FastAPI's routes are given: the hub, the key that asked, and the model meant.

They come from the application's state and the request's scope, so that there is no global and a
test can make as many applications as it likes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, cast

import msgspec
from fastapi import Depends, Path, Request

from app.auth import KeyRing
from app.gate import KEY_IN_SCOPE
from app.hub import Hub
from app.key_lines import Key
from app.light_figures import Windows
from app.live_stream import LiveStreams
from app.names import DEFAULT_MODEL, NAME_PATTERN, is_name
from app.problems import Problem
from app.replica import ModelReplica
from app.request_body import BodyReader
from app.request_meter import RequestMeter
from app.settings import Settings
from app.snapshot_store import SnapshotStore
from app.snapshots import SnapshotDirectory
from app.table_looks import TableLooks
from app.worker_figures import WorkerFigures

OBJECT_BYTES_MAX = 64 << 10  # of the small JSON bodies of the admin routes


def hub_of(request: Request) -> Hub:
    """The hub that the application was made with."""
    return cast(Hub, request.app.state.hub)


def settings_of(request: Request) -> Settings:
    """The settings that the application was made with."""
    return cast(Settings, request.app.state.settings)


def meter_of(request: Request) -> RequestMeter:
    """The application's request metrics."""
    return cast(RequestMeter, request.app.state.meter)


def streams_of(request: Request) -> LiveStreams:
    """The open streams of the process."""
    return cast(LiveStreams, request.app.state.streams)


@dataclass(frozen=True, slots=True)
class Looking:
    """What is shown beside /stats: of all workers, of windows, of tables."""

    workers: WorkerFigures
    windows: Windows
    tables: TableLooks


def looking_of(request: Request) -> Looking:
    """Of the process."""
    state = request.app.state
    return Looking(state.workers, state.windows, state.tables)


def keys_of(request: Request) -> KeyRing:
    """The keys of the process."""
    return cast(KeyRing, request.app.state.keys)


async def snapshots_of(request: Request) -> SnapshotDirectory:
    """The snapshot directory; Problem 503 when other replicas use another one."""
    store = cast(SnapshotStore, request.app.state.snapshots)
    return await store.checked()


def key_of(request: Request) -> Key:
    """The key that asked; the gate has let it through."""
    return cast(Key, request.scope[KEY_IN_SCOPE])


def model_name_of(request: Request) -> str:
    """The model meant; Problem 404 for what cannot be a name."""
    name = str(request.path_params.get("model", DEFAULT_MODEL))
    if not is_name(name):
        raise Problem("model-not-found", "no model has such a name")
    return name


async def replica_of(
    hub: Annotated[Hub, Depends(hub_of)], name: Annotated[str, Depends(model_name_of)]
) -> ModelReplica:
    """The replica of the model meant; ModelNotFound."""
    return await hub.get(name)


async def object_of(request: Request) -> dict[str, Any]:
    """The small JSON object that is the body; {} when there is none.

    Problem 413, 415 (so that no web page can send it without asking first), 400, 422.
    """
    reader = BodyReader(OBJECT_BYTES_MAX, seconds=settings_of(request).body_seconds)
    body = await reader.read(request.scope, request.receive)
    if not body:
        return {}
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem("media-type", "the body must be application/json")
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Problem("bad-body", "the body is not JSON") from None
    if not isinstance(content, dict):
        raise Problem("bad-config", "the body must be a JSON object")
    return content


def documented_model(
    model: Annotated[
        str,
        Path(
            description="name of the model",
            examples=["ads"],
            json_schema_extra={"pattern": NAME_PATTERN},  # told, and checked by others
        ),
    ],
) -> None:
    """Puts the path parameter of /models/{model}/... into the OpenAPI document."""


HubOf = Annotated[Hub, Depends(hub_of)]
SettingsOf = Annotated[Settings, Depends(settings_of)]
KeysOf = Annotated[KeyRing, Depends(keys_of)]
SnapshotsOf = Annotated[SnapshotDirectory, Depends(snapshots_of)]
MeterOf = Annotated[RequestMeter, Depends(meter_of)]
LookingOf = Annotated[Looking, Depends(looking_of)]
StreamsOf = Annotated[LiveStreams, Depends(streams_of)]
KeyOf = Annotated[Key, Depends(key_of)]
ModelName = Annotated[str, Depends(model_name_of)]
ReplicaOf = Annotated[ModelReplica, Depends(replica_of)]
ObjectOf = Annotated[dict[str, Any], Depends(object_of)]
SnapshotName = Annotated[
    str, Path(description="name of the snapshot", json_schema_extra={"pattern": NAME_PATTERN})
]
