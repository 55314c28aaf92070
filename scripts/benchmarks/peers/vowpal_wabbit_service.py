"""Vowpal Wabbit's --ftrl behind FastAPI; an example goes in as a line of its text format."""

from __future__ import annotations

from fastapi import FastAPI
from vowpalwabbit import Workspace

from scripts.benchmarks.peers.service import Example, Examples, Learned, Predictions, serve
from scripts.benchmarks.peers.vowpal_wabbit import FTRL

application = FastAPI()
model = Workspace(f"{FTRL} --link logistic")


def line(example: Example) -> str:
    """The features as text."""
    return " ".join(
        [
            f"{name}={value}" if isinstance(value, str) else f"{name}:{value}"
            for name, value in example.features.items()
        ]
    )


@application.post("/learn")
async def learn(body: Examples) -> Learned:
    """Learn each example."""
    for example in body.examples:
        model.learn(f"{1 if example.label else -1} | {line(example)}")
    return Learned(accepted=len(body.examples))


@application.post("/predict")
async def predict(body: Examples) -> Predictions:
    """The probability of a click for each example."""
    return Predictions(
        predictions=[model.predict(f"| {line(example)}") for example in body.examples]
    )


if __name__ == "__main__":
    serve(application)
