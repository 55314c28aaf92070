"""The OpenAPI entries of /learn and /predict; the gate answers these two before routing.

They are routes so that the document, the route table's test and the 405s treat them like any other.
Reaching one of these functions would mean that the gate was left out, which must not pass silently:
nothing would have asked for a key.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from app.schemas import (
    LEARN_BODY,
    POSITION_PATTERN,
    PREDICT_BODY,
    LearnReply,
    PredictReply,
    problems,
)

router = APIRouter(tags=["learn and predict"])


@router.post(
    "/learn",
    summary="Learn labelled examples",
    response_model=LearnReply,
    responses=problems(400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=LEARN_BODY,
)
async def learn(
    predictions: Annotated[  # noqa: ARG001
        bool, Query(description="whether to reply with the predictions made before learning")
    ] = True,
    id: Annotated[  # noqa: A002, ARG001
        Literal["tag"] | None,
        Query(description="`tag`: the tag of Vowpal Wabbit text is the event id"),
    ] = None,
    idempotency_key: Annotated[  # noqa: ARG001
        str | None,
        Header(
            description="1 to 256 visible characters; the same key and body is learned once",
            pattern="^[!-~]{1,256}$",
        ),
    ] = None,
) -> Response:
    """All or nothing: 200 means in the log under the stated durability, and folded here.

    An example whose `id` came before is a duplicate and not learned again. Every 5xx has `outcome`.
    """
    raise AssertionError("the gate answers /learn")


@router.post(
    "/predict",
    summary="Score examples",
    response_model=PredictReply,
    responses=problems(400, 404, 413, 415, 422, 503),
    openapi_extra=PREDICT_BODY,
)
async def predict(
    min_position: Annotated[  # noqa: ARG001
        str | None,
        Query(
            description="wait, 5 s at most, until this replica has folded that far",
            examples=["1-42"],
            pattern=POSITION_PATTERN,
        ),
    ] = None,
    uncertainty: Annotated[  # noqa: ARG001
        bool, Query(description="whether to reply with the uncertainty of each prediction too")
    ] = False,
    id: Annotated[  # noqa: A002, ARG001
        Literal["tag"] | None,
        Query(description="as for /learn"),
    ] = None,
    explain: Annotated[  # noqa: ARG001
        bool,
        Query(description="whether to reply with what each feature contributes; 100 examples"),
    ] = False,
) -> Response:
    """From the weights of one whole position, which the reply names. Labels are ignored."""
    raise AssertionError("the gate answers /predict")
