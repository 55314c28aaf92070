"""The bodies and the server that both services have."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Example(BaseModel):
    """One example; a label is needed for learning only."""

    features: dict[str, str | float]
    label: int = 0


class Examples(BaseModel):
    """The body of both routes."""

    examples: list[Example]


class Learned(BaseModel):
    """The reply of /learn."""

    accepted: int


class Predictions(BaseModel):
    """The reply of /predict."""

    predictions: list[float]


def serve(application: FastAPI) -> None:
    """Serve on the port that the command line names."""
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
