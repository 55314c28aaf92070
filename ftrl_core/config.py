"""The configuration of a model: validated once, here, and trusted everywhere else.

A configuration may be given in part; what is left out takes the service's defaults below, is
resolved when the model is made, and is then kept in the model's log for ever, so an upgrade that
changes a default changes no model.

Whoever gives a learning rate has chosen it for the data as they are, and gets the paper's plain
learner (a mixture of such for a list). Whoever gives none gets UNTUNED, which needs no tuning: four
rates mixed, examples scaled to length one, numbers on any scale; chosen by measurement, see
docs/contest.md.

What changes the fold's arithmetic is separate from what does not (`arithmetic`): the digest of a
model covers the first and ignores the second.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ftrl_core import arguments
from ftrl_core.errors import BadConfig, UnknownVersion
from ftrl_core.hyperparameters import RATE_MAX, Hyperparameters
from ftrl_core.numbers import log

FOLD_VERSION = 1
TABLE_BITS_MAX = 30
SLICES_MAX = 8
DEDUPLICATION_WINDOW_MAX = 1 << 26
MIXTURE_SHARE = 1e-4
SAMPLING_RATE_MIN = 1e-4  # a negative's weight stays finite in every square
NUMBERS = ("raw", "log_bins", "auto")
SCALES = ("none", "unit")
UNTUNED: dict[str, Any] = {"numbers": "auto", "scale": "unit", "bias_learning_rate": 0.1}
UNTUNED_OPTIMIZER: dict[str, Any] = {"learning_rate": (0.3, 0.5, 1.0, 2.0), "beta": 0.1}
_NEUTRAL = {
    "learning_rate_power": -0.5,
    "initial_accumulator_value": 0.0,
    "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0,
    "l2_shrinkage_regularization_strength": 0.0,
    "beta": 0.0,
    "clipvalue": None,
    "clipnorm": None,
    "global_clipnorm": None,
    "hash_seed": 0,
    "bias_regularized": False,
    "bias_learning_rate": None,
    "numbers": "raw",
    "scale": "none",
    "mixture_share": 0.0,
    "admission": None,
    "sampling_rate": 1.0,
    "sampling_correction": "weight",
    "rates_from": "gradients",
    "fold_version": 1,
}


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """Which features get a coefficient: {"kind": "poisson", "probability"} or {"kind": "bloom",
    "count", "bits"} (admission.py). Raises BadConfig."""

    kind: str
    probability: float | None = None
    count: int | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        arguments.choice("admission.kind", self.kind, ("poisson", "bloom"))
        if self.kind == "poisson":
            p = arguments.positive("admission.probability", self.probability, 1.0)
            object.__setattr__(self, "probability", p)
            self._refuse("count", "bits")
        else:
            arguments.integer("admission.count", self.count, 1, 254)
            object.__setattr__(self, "bits", 20 if self.bits is None else self.bits)
            arguments.integer("admission.bits", self.bits, 10, 24)
            self._refuse("probability")

    def _refuse(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise BadConfig(f"admission.{name} is not an argument of {self.kind}")

    def to_dict(self) -> dict[str, Any]:
        """The arguments of this kind, JSON-able."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in told.items() if value is not None}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Everything that a model's fold depends on besides its log."""

    optimizer: Hyperparameters
    table_bits: int = 22  # the table has 2^table_bits slots
    hash_seed: int = 0  # seeds every hash of the model, below 2^32
    deduplication_window: int = 1 << 20  # ids remembered, by position
    bias_regularized: bool = False  # whether l1 and l2 act on the bias too
    bias_learning_rate: float | None = None  # None: the bias of a lane has the lane's
    numbers: str = "raw"  # or log_bins or auto: what a number contributes (numeric_features.py)
    scale: str = "none"  # or unit: the values of an example are divided by their length
    mixture_share: float | None = None  # fixed share of a mixture; None: MIXTURE_SHARE
    admission: AdmissionRule | None = None  # None admits every feature at once
    sampling_rate: float = 1.0  # share of the examples without a click that are sent
    sampling_correction: str = "weight"  # or logit
    rates_from: str = "gradients"  # or counts (McMahan et al. 2013, section 4.5)
    slices: tuple[str, ...] = ()  # features whose values have figures of their own (slices.py)
    fold_version: int = FOLD_VERSION  # which arithmetic; a replica refuses one it does not know

    def __post_init__(self) -> None:
        arguments.integer("table_bits", self.table_bits, 1, TABLE_BITS_MAX)
        arguments.integer("hash_seed", self.hash_seed, 0, 2**32 - 1)
        window = self.deduplication_window
        arguments.integer("deduplication_window", window, 0, DEDUPLICATION_WINDOW_MAX)
        arguments.integer("fold_version", self.fold_version, FOLD_VERSION, FOLD_VERSION)
        arguments.flag("bias_regularized", self.bias_regularized)
        rate = arguments.between("sampling_rate", self.sampling_rate, SAMPLING_RATE_MIN, 1.0)
        self._set("sampling_rate", rate)
        arguments.choice("sampling_correction", self.sampling_correction, ("weight", "logit"))
        arguments.choice("rates_from", self.rates_from, ("gradients", "counts"))
        self._set("slices", arguments.names("slices", self.slices, SLICES_MAX))
        o = self.optimizer
        if self.rates_from == "counts" and not o.beta and not o.initial_accumulator_value:
            raise BadConfig("rates_from=counts wants a beta above 0: P N / (P + N) begins at 0")
        self._resolve()

    def _resolve(self) -> None:
        mixture = self.lanes > 1
        arguments.choice("numbers", self.numbers, NUMBERS)
        arguments.choice("scale", self.scale, SCALES)
        if self.bias_learning_rate is not None:
            rate = arguments.positive("bias_learning_rate", self.bias_learning_rate, RATE_MAX)
            self._set("bias_learning_rate", rate)
        if self.mixture_share is None:
            self._set("mixture_share", MIXTURE_SHARE if mixture else 0.0)
        share = arguments.between("mixture_share", self.mixture_share, 0.0, 0.5)
        if share and not mixture:
            raise BadConfig(f"mixture_share={share!r} wants a list of learning rates")
        self._set("mixture_share", share)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rate of each lane; a schedule's at its first step."""
        return self.optimizer.rates

    @property
    def lanes(self) -> int:
        """How many learning rates the model learns with at once."""
        return len(self.rates)

    @property
    def logit_offset(self) -> float:
        """What is added to a logit while learning: -log(sampling_rate) for the logit correction."""
        return -log(self.sampling_rate) if self.sampling_correction == "logit" else 0.0

    @staticmethod
    def from_dict(given: Mapping[str, Any]) -> ModelConfig:
        """The configuration with what is left out at its default; BadConfig names what is wrong."""
        rest = arguments.known("configuration", given, ModelConfig)
        optimizer = arguments.known("optimizer", rest.pop("optimizer", {}), Hyperparameters)
        if "learning_rate" not in optimizer:
            rest, optimizer = {**UNTUNED, **rest}, {**UNTUNED_OPTIMIZER, **optimizer}
        admission = rest.pop("admission", None)
        if admission is not None:
            admission = arguments.known("admission", admission, AdmissionRule)
            admission = AdmissionRule(**{"kind": None, **admission})
        return ModelConfig(optimizer=Hyperparameters(**optimizer), admission=admission, **rest)

    @staticmethod
    def stored(given: Mapping[str, Any]) -> ModelConfig:
        """The configuration of a model that exists, whole as it was stored.

        UnknownVersion for one that no model of this version can have: it was right for who wrote
        it, so another version did.
        """
        version = given.get("fold_version") if isinstance(given, Mapping) else None
        if version != FOLD_VERSION:
            raise UnknownVersion(f"fold_version {version!r:.20} is not known to this version")
        try:
            return ModelConfig.from_dict(given)
        except BadConfig as error:
            raise UnknownVersion(f"the configuration is of another version: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The whole configuration, JSON-able; `from_dict` gives back an equal one.

        Slices are left out where there are none, so that a version that does not know them can
        follow a model that has none.
        """
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        told["optimizer"] = self.optimizer.to_dict()
        told["admission"] = None if self.admission is None else self.admission.to_dict()
        told["slices"] = list(self.slices)
        if not self.slices:
            del told["slices"]
        return told

    def arithmetic(self) -> bytes:
        """Canonical bytes of what changes the fold's arithmetic; part of the digest.

        What is at its neutral value is left out, so an argument that a later version adds, off by
        default, changes no digest.
        """
        whole = self.to_dict()
        whole.update(whole.pop("optimizer"))
        del whole["deduplication_window"]
        whole.pop("slices", None)
        told = {
            name: value
            for name, value in whole.items()
            if name not in _NEUTRAL or value != _NEUTRAL[name]
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
