"""Models: list, describe, make, change, delete. Thin: the hub and the replica know the rules.

A configuration that is given in part is completed by the service's defaults when the model is made
(ftrl_core.config), and shown whole ever after. A key that is bound to models sees, names and copies
only these, so `from_snapshot` asks about the model that the snapshot is of as well.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from app.dependencies import (
    HubOf,
    KeyOf,
    ModelName,
    ObjectOf,
    ReplicaOf,
    SnapshotsOf,
    documented_model,
)
from app.errors import Conflict
from app.hub import memory_bytes
from app.key_lines import Key
from app.names import NAME_PATTERN, NAME_RULE, is_name
from app.problems import Problem
from app.replica import ModelReplica
from app.replies import json_reply
from app.schemas import ModelListReply, ModelReply, object_body, problems
from app.snapshots import SnapshotDirectory
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadConfig
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.model import Model
from ftrl_core.reconfigure import changed_config, merged_config

router = APIRouter(tags=["models"])
_CREATED = 201
_OK = 200

_OPTIMIZER = {field.name for field in dataclasses.fields(Hyperparameters)}
_CONFIG: dict[str, Any] = {
    "optimizer": {
        "type": "object",
        "properties": {name: {} for name in sorted(_OPTIMIZER)},
        "additionalProperties": False,
        "description": "Keras' names: learning_rate (a number, a schedule, or a list: a mixture), "
        "beta, l1_regularization_strength, l2_regularization_strength, initial_accumulator_value, "
        "learning_rate_power, l2_shrinkage_regularization_strength, clipvalue, clipnorm, "
        "global_clipnorm. Without a learning_rate: a mixture that needs no tuning",
    },
    "numbers": {"enum": ["raw", "log_bins", "auto"], "description": "what a number contributes"},
    "scale": {"enum": ["none", "unit"], "description": "examples divided by their length, or not"},
    "mixture_share": {"type": "number", "description": "fixed share of a mixture"},
    "bias_learning_rate": {"type": ["number", "null"], "description": "the bias's own rate"},
    "bias_regularized": {"type": "boolean", "description": "whether l1 and l2 act on the bias"},
    "admission": {
        "type": ["object", "null"],
        "description": '{"kind": "poisson", "probability"} or {"kind": "bloom", "count", "bits"}',
    },
    "sampling_rate": {"type": "number", "description": "share of the non-clicks that are sent"},
    "sampling_correction": {"enum": ["weight", "logit"], "description": "how they are corrected"},
    "rates_from": {"enum": ["gradients", "counts"], "description": "what rates fall by"},
    "table_bits": {
        "type": "integer",
        "minimum": 1,
        "maximum": 30,
        "description": "the table has 2^table_bits slots",
    },
    "hash_seed": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**32 - 1,
        "description": "seeds every hash of the model",
    },
    "deduplication_window": {"type": "integer", "description": "event ids remembered"},
    "from_snapshot": {
        "type": "string",
        "pattern": f"{NAME_PATTERN[:-1]}/{NAME_PATTERN[1:]}",
        "description": "`model/name`; alone, without the others",
    },
}
_EXAMPLE = {"optimizer": {"learning_rate": 0.1, "beta": 1.0}, "table_bits": 22}
_PUT = object_body("The configuration, possibly partial.", _CONFIG, _EXAMPLE, required=False)
_PATCH = object_body(
    "What is to change: learning_rate, learning_rate_power, beta, l1, l2; table_bits upward.",
    {name: _CONFIG[name] for name in ("optimizer", "table_bits")},
    {"optimizer": {"learning_rate": 0.05}},
    required=True,
)


@router.get(
    "/models",
    summary="List models",
    response_model=ModelListReply,
    responses=problems(503),
)
async def list_models(hub: HubOf, key: KeyOf) -> Response:
    """Every model hosted here; those not loaded yet with their name alone."""
    loaded = {replica.name: replica for replica in hub.loaded()}
    names = [name for name in await hub.names() if key.may_use(name)]
    return json_reply({"models": [_listed(name, loaded.get(name)) for name in names]})


@router.get(
    "/models/{model}",
    summary="Describe a model",
    response_model=ModelReply,
    responses=problems(404, 503),
    dependencies=[Depends(documented_model)],
)
async def describe_model(replica: ReplicaOf) -> Response:
    """Its configuration in full, counts and memory."""
    return json_reply(_described(replica))


@router.put(
    "/models/{model}",
    summary="Make a model",
    response_model=ModelReply,
    responses={
        **problems(400, 404, 409, 413, 415, 422, 503),
        201: {"model": ModelReply, "description": "made"},
    },
    openapi_extra=_PUT,
    dependencies=[Depends(documented_model)],
)
async def make_model(
    request: Request, hub: HubOf, snapshots: SnapshotsOf, key: KeyOf, given: ObjectOf
) -> Response:
    """201 made; 200 the same again; a model that has learned nothing is replaced; otherwise 409."""
    name = str(request.path_params["model"])
    if not is_name(name):
        raise Problem("bad-name", f"a model's name is {NAME_RULE}")
    source = given.pop("from_snapshot", None)
    if source is None:
        replica, created = await hub.create(name, given)
    else:
        restored = await _snapshot_model(snapshots, key, source, given)
        replica, created = await hub.create(name, {}, from_model=restored)
    return json_reply(_described(replica), _CREATED if created else _OK)


@router.patch(
    "/models/{model}",
    summary="Change a live model",
    response_model=ModelReply,
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=_PATCH,
    dependencies=[Depends(documented_model)],
)
async def change_model(hub: HubOf, replica: ReplicaOf, changes: ObjectOf) -> Response:
    """Every replica changes at the same position; what cannot change live is 409."""
    hub.require_room(_live_config(replica.require_model().config, changes))
    await replica.configure(changes)
    return json_reply(_described(replica))


@router.delete(
    "/models/{model}",
    summary="Delete a model",
    status_code=204,
    responses=problems(404, 409, 503),
    dependencies=[Depends(documented_model)],
)
async def delete_model(hub: HubOf, name: ModelName) -> Response:
    """Delete the model for every replica; its snapshots stay."""
    await hub.delete(name)
    return Response(status_code=204)


def _live_config(config: ModelConfig, changes: dict[str, Any]) -> ModelConfig:
    """What the model will have.

    Raises BadConfig for what no model could have, Conflict for what this one cannot become live.
    """
    merged_config(config, changes)
    try:
        return changed_config(config, changes)
    except BadConfig as error:
        raise Conflict("not-live", str(error)) from error


async def _snapshot_model(
    snapshots: SnapshotDirectory, key: Key, source: object, given: dict[str, Any]
) -> Model:
    parts = source.split("/") if isinstance(source, str) else []
    if given or len(parts) != 2 or not all(is_name(part) for part in parts):
        raise Problem("bad-config", "from_snapshot is `model/name`, and stands alone")
    if not key.may_use(parts[0]):
        raise Problem("scope-missing", "the key is not for the snapshot's model")
    _, restored = await asyncio.to_thread(snapshots.load, *parts)
    return restored


def _listed(name: str, replica: ModelReplica | None) -> dict[str, Any]:
    model = replica.model if replica is not None else None
    if replica is None or model is None:
        return {"model": name, "state": replica.state if replica is not None else "not loaded"}
    return {
        "model": name,
        "state": replica.state,
        "position": str(model.position),
        "examples": model.examples,
        "duplicates": model.duplicates,
        "memory_bytes": memory_bytes(model.config),
    }


def _described(replica: ModelReplica) -> dict[str, Any]:
    model = replica.require_model()
    return {
        **_listed(replica.name, replica),
        "incarnation": replica.incarnation,
        "durability": replica.durability,
        "config": model.config.to_dict(),
    }
