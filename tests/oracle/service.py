"""The whole service as a user sees it, in a few dicts: models, ids, keys, snapshots.

FTRL-Proximal on names instead of slots, in float64 (McMahan et al. 2013, Algorithm 1, beta beside
the root, no regularisation), so a model answers within rounding. What is counted is exact.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BETA = 1.0


@dataclass
class PlainModel:
    """A model: w follows from z and n, and a change of the rate moves no w."""

    rate: float
    z: dict[str, float] = field(default_factory=dict)
    n: dict[str, float] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    keys: dict[str, str] = field(default_factory=dict)  # idempotency key to the body
    examples: int = 0
    duplicates: int = 0

    def weight(self, name: str) -> float:
        """The present weight of a feature; the bias is the feature without a name."""
        z, n = self.z.get(name, 0.0), self.n.get(name, 0.0)
        return -z * self.rate / (BETA + math.sqrt(n))

    def predict(self, names: Sequence[str]) -> float:
        """The probability of a click."""
        logit = sum(self.weight(name) for name in ["", *names])
        return 1.0 / (1.0 + math.exp(-logit))

    def learn(self, names: Sequence[str], label: int) -> float:
        """Learn one example; the prediction before."""
        p = self.predict(names)
        for name in ["", *names]:
            w, n = self.weight(name), self.n.get(name, 0.0)
            sigma = (math.sqrt(n + (p - label) ** 2) - math.sqrt(n)) / self.rate
            self.z[name] = self.z.get(name, 0.0) + (p - label) - sigma * w
            self.n[name] = n + (p - label) ** 2
        self.examples += 1
        return p

    def change_rate(self, rate: float) -> None:
        """Derive z again, so that every weight stays."""
        self.z = {name: z * self.rate / rate for name, z in self.z.items()}
        self.rate = rate


@dataclass
class PlainService:
    """All models, and the snapshots of each; they stay when a model goes."""

    models: dict[str, PlainModel] = field(default_factory=dict)
    snapshots: dict[tuple[str, str], PlainModel] = field(default_factory=dict)

    def learn(
        self, model: str, examples: Sequence[Mapping[str, Any]], key: str | None, body: str
    ) -> tuple[int, list[float | None]]:
        """The status, and the predictions made before learning, None for a duplicate."""
        if model not in self.models:
            return 404, []
        told = self.models[model]
        if key is not None and key in told.keys:
            if told.keys[key] != body:
                return 422, []
            told.duplicates += len(examples)
            return 200, [None] * len(examples)
        if key is not None:
            told.keys[key] = body
        return 200, [self._learn_one(told, example) for example in examples]

    def _learn_one(self, model: PlainModel, example: Mapping[str, Any]) -> float | None:
        event = example.get("id")
        if event is not None and event in model.ids:
            model.duplicates += 1
            return None
        if event is not None:
            model.ids.add(event)
        return model.learn(features_of(example), example["label"])

    def put(self, model: str, rate: float) -> int:
        """Make a model, find the same, or replace one that has learned nothing."""
        known = self.models.get(model)
        if known is not None and known.rate == rate:
            return 200
        if known is not None and (known.examples or known.duplicates):
            return 409
        self.models[model] = PlainModel(rate)
        return 201

    def snapshot(self, model: str, name: str) -> int:
        """Keep a copy under a name that is free."""
        if model not in self.models:
            return 404
        if (model, name) in self.snapshots:
            return 409
        self.snapshots[model, name] = copy.deepcopy(self.models[model])
        return 201

    def restore(self, model: str, name: str) -> int:
        """Go back to a copy."""
        if model not in self.models or (model, name) not in self.snapshots:
            return 404
        self.models[model] = copy.deepcopy(self.snapshots[model, name])
        return 200


def features_of(example: Mapping[str, Any]) -> list[str]:
    """Names of the categorical features of an example."""
    return [f"{name}={value}" for name, value in example["features"].items()]
