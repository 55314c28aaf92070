"""River's logistic regression with FTRL-Proximal behind FastAPI."""

from __future__ import annotations

from fastapi import FastAPI
from river import linear_model, optim

from scripts.benchmarks.peers.service import Example, Examples, Learned, Predictions, serve

application = FastAPI()
model = linear_model.LogisticRegression(optim.FTRLProximal(alpha=0.1, beta=1.0, l1=0.0, l2=0.0))


def row(example: Example) -> dict[str, float]:
    """A category is a feature of its own with the value 1."""
    return {
        f"{name}={value}" if isinstance(value, str) else name: (
            1.0 if isinstance(value, str) else value
        )
        for name, value in example.features.items()
    }


@application.post("/learn")
async def learn(body: Examples) -> Learned:
    """Learn each example."""
    for example in body.examples:
        model.learn_one(row(example), bool(example.label))
    return Learned(accepted=len(body.examples))


@application.post("/predict")
async def predict(body: Examples) -> Predictions:
    """The probability of a click for each example."""
    return Predictions(
        predictions=[model.predict_proba_one(row(example))[True] for example in body.examples]
    )


if __name__ == "__main__":
    serve(application)
