"""The shapes of requests and replies, for the OpenAPI document alone.

Nothing is validated by these classes: examples are read by `app.ingest`, configurations by
`ftrl_core.config`, and replies are built as plain dicts. They exist so that the API pages can say
every field with its meaning, and tests hold them to the replies that are really sent. Validating
with them was measured and refused: 19 microseconds an example against 1.6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.example_bodies import EXAMPLE_FILES

POSITION_PATTERN = r"^(0|[1-9][0-9]{0,14})-(0|[1-9][0-9]{0,14})$"
POSITION = Field(
    description="`<epoch>-<seq>`: the log entry up to which was folded", examples=["1-42"]
)


class LearnReply(BaseModel):
    """What /learn answers."""

    model: str
    position: str = POSITION
    accepted: int = Field(description="examples learned")
    duplicates: int = Field(description="examples not learned, because their id came before")
    durability: str = Field(description="what this acknowledgement promises", examples=["fsync"])
    predictions: list[float | None] | None = Field(
        None, description="probability just before learning each example; null for a duplicate"
    )


class ContributionReply(BaseModel):
    """A feature's part of a logit; lists where a mixture has one for each learning rate."""

    name: str | None = Field(
        description="null where the body has no names; the last of a mixture is `mixture`: what"
        " its logit is more than the contributions"
    )
    value: Any = None
    view: str | None = Field(None, description="of a number in a mixture: logarithm or bin")
    slot: int | None = None
    x: float | list[float] | None = Field(None, description="what the weight is multiplied with")
    weight: float | list[float] | None = None
    n: float | list[float] | None = Field(None, description="sum of squared gradients so far")
    learning_rate: float | list[float] | None = Field(None, description="of the next update")
    held_at_zero: bool | list[bool] | None = Field(
        None, description="learned, and held at zero by l1"
    )
    contribution: float


class ExplanationReply(BaseModel):
    """bias + contributions = logit."""

    logit: float
    bias: float
    contributions: list[ContributionReply]


class PredictReply(BaseModel):
    """What /predict answers."""

    model: str
    position: str = POSITION
    predictions: list[float] = Field(description="probability of a click, in the order sent")
    uncertainty: list[float] | None = Field(
        None, description="the most by which learning each example next could move its logit"
    )
    explanations: list[ExplanationReply] | None = Field(
        None, description="what each feature contributes to the logit; with explain=true"
    )
    stale_seconds: float | None = Field(
        None, description="only while Redis is away: seconds since it last answered"
    )


class ProblemReply(BaseModel):
    """An RFC 9457 problem."""

    type: str = Field(examples=["/problems/bad-example"])
    title: str
    status: int
    detail: str
    row: int | None = Field(None, description="index of the example")
    pointer: str | None = Field(None, description="JSON pointer to the place in the body")
    outcome: str | None = Field(None, description="5xx of /learn: not_learned or unknown")


class ModelReply(BaseModel):
    """A model, described."""

    model: str
    incarnation: str = Field(description="16 hex digits, drawn when the model was made")
    state: str = Field(examples=["live"])
    position: str = POSITION
    examples: int
    duplicates: int
    memory_bytes: int
    durability: str
    config: dict[str, Any] = Field(description="the whole configuration, as PUT takes it")


class ModelListReply(BaseModel):
    """The models of this service."""

    models: list[dict[str, Any]]


class SnapshotReply(BaseModel):
    """A snapshot, described."""

    model: str
    name: str
    position: str = POSITION
    digest: str = Field(description="of the weights")
    examples: int
    created_ms: int = Field(description="milliseconds since 1970, UTC")
    incarnation: str
    file_bytes: int
    config: dict[str, Any]


class SnapshotListReply(BaseModel):
    """The snapshots of a model, newest first."""

    model: str
    snapshots: list[SnapshotReply]


class MovedReply(BaseModel):
    """The position of the entry by which every replica changes."""

    model: str
    position: str = POSITION


class RestoredReply(MovedReply):
    """What a model was restored to."""

    snapshot: str
    digest: str = Field(description="of the weights")


class StatsReply(BaseModel):
    """Progressive figures, counts and health of a model."""

    model_config = ConfigDict(extra="allow")

    model: str
    position: str = POSITION
    digest: str = Field(description="of the weights: equal for equal weights")
    state_digest: str = Field(description="of everything the fold keeps, position included")
    examples: int
    duplicates: int
    log_loss: float | None
    auc: float | None
    normalized_entropy: float | None
    calibration: float | None
    window: dict[str, Any] = Field(description="the same figures over the latest 100,000")
    deduplication_window_seconds: float | None
    durability: str
    stale_seconds: float
    authors: dict[str, Any] = Field(
        description="which key wrote what, as folded here since a position"
    )
    config: dict[str, Any]


class ChartReply(BaseModel):
    """Columns of figures; docs/observing.md has each."""

    model_config = ConfigDict(extra="allow")

    model: str
    position: str = POSITION


class LiveReply(BaseModel):
    """That the process is alive."""

    live: bool


class StartedReply(BaseModel):
    """Whether the service has started, and what it does meanwhile."""

    model_config = ConfigDict(extra="allow")

    started: bool


class ReadyReply(BaseModel):
    """Whether the service can answer."""

    model_config = ConfigDict(extra="allow")

    ready: bool


_ONE = {"id": "imp-81", "label": 1, "weight": 1.0, "features": {"ad": "a9", "price": 3.5}}
_MANY = {
    "shared": {"user": "u17", "hour": "14"},
    "examples": [
        {
            "id": "imp-81",
            "label": 1,
            "features": {"ad": "a9", "price": 3.5, "tags": ["x", "y"], "is_new": True},
        },
        {"id": "imp-82", "label": 0, "features": {"ad": "a4", "price": 1.25, "tags": ["y"]}},
    ],
}
_VALUES: list[dict[str, Any]] = [
    {"type": "string", "maxLength": 256},
    {"type": "number", "minimum": -1e7, "maximum": 1e7},
    {"type": "boolean"},
    {"type": "null"},
]
_FEATURES = {
    "type": "object",
    "description": "name: a string is categorical; a number, true, or a list of these",
    "additionalProperties": {"anyOf": [*_VALUES, {"type": "array", "items": {"anyOf": _VALUES}}]},
}
_EXAMPLE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {
            "description": "event id: 1 to 128 characters, or an integer",
            "type": ["string", "integer"],
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f]{1,128}$",
        },
        "label": {"description": "0 or 1; learning wants it", "type": "number", "enum": [0, 1]},
        "weight": {
            "description": "importance, 1 by default",
            "type": "number",
            "minimum": 0,
            "maximum": 1e6,
        },
        "features": _FEATURES,
    },
    "additionalProperties": False,
}
_EXAMPLES: dict[str, Any] = {
    "type": "object",
    "required": ["examples"],
    "properties": {
        "shared": {**_FEATURES, "description": "merged into every example"},
    },
    "additionalProperties": False,
}


def _binary(file: str) -> dict[str, Any]:
    """Content that is no text, and where an example of it can be downloaded."""
    given = {"summary": "two examples", "externalValue": f"/docs/assets/{file}"}
    return {"schema": {"type": "string", "format": "binary"}, "examples": {"two": given}}


def _examples_body(needed: list[str]) -> dict[str, Any]:
    """openapi_extra for bodies of examples that have these members."""
    one = {**_EXAMPLE, "required": needed}
    items = {"type": "array", "items": one, "minItems": 1, "maxItems": 10_000}
    many = {**_EXAMPLES, "properties": {**_EXAMPLES["properties"], "examples": items}}
    content = {
        "application/json": {
            "schema": {"oneOf": [many, one]},
            "examples": {"many": {"value": _MANY}, "one": {"value": _ONE}},
        },
        "application/x-ndjson": {
            "schema": {"type": "string"},
            "example": '{"label": 1, "features": {"ad": "a9"}}\n'
            '{"label": 0, "features": {"ad": "a4"}}\n',
        },
        "text/x-vw": {
            "schema": {"type": "string"},
            "example": "1 0.5 'imp-81|ad a9 |user u17 | price:3.5\n",
        },
        **{media_type: _binary(file) for file, media_type in EXAMPLE_FILES.items()},
    }
    description = (
        "One example, many with `shared` features, or one a line. `Content-Encoding: gzip` and "
        "`zstd` are read too. docs/bodies.md has the media types."
    )
    return {"requestBody": {"required": True, "description": description, "content": content}}


LEARN_BODY = _examples_body(["features", "label"])
PREDICT_BODY = _examples_body(["features"])


def object_body(
    description: str,
    properties: dict[str, Any],
    example: dict[str, Any],
    *,
    required: bool,
    needs: Sequence[str] = (),
) -> dict[str, Any]:
    """openapi_extra for a route whose body is a small JSON object, which `needs` these members."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if needs:
        schema["required"] = list(needs)
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": required, "description": description, "content": content}}


PROBLEMS: dict[int, str] = {
    400: "not decodable",
    401: "no key, or one that is not known",
    403: "the key does not allow this",
    404: "not there",
    409: "the state does not allow this",
    413: "a limit is exceeded",
    415: "the media type is not read here",
    422: "decodable, and wrong",
    429: "too much for the key; see Retry-After",
    503: "not now; see Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for these problem statuses, beside those that all routes have."""
    content = {
        "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemReply"}}
    }
    return {
        status: {"description": PROBLEMS[status], "content": content}
        for status in sorted({401, 403, *statuses})
    }
