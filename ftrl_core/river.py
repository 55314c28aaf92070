"""The model as a River classifier: the service's own fold behind `learn_one`.

The features of an example are what POST /learn takes: a text is a category, a number a number, True
a flag, None and False nothing, a list several of these. The same examples in the same order give
the same predictions as the service, bit for bit, when both have the same configuration.

Needs the extra `river`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from river import base

from ftrl_core.batch import ExampleBatch
from ftrl_core.constants import F64
from ftrl_core.estimators import config_of, model_from_bytes, model_to_bytes
from ftrl_core.model import Model

Features = Mapping[Any, Any]
Frame = Any  # pandas' DataFrame and Series: River does without pandas until one is given


class FtrlClassifier(base.MiniBatchClassifier):
    """FTRL-Proximal for a target of True and False (or 1 and 0).

    learning_rate None is the service's default that needs no tuning; a number, a list (a mixture)
    or a schedule's {"class_name", "config"} is the paper's learner (docs/models.md). The other
    arguments of the optimizer have Keras' names; beta None is the default that goes with the
    learning rate. `options` holds any further argument of a model ({"numbers": "auto"}). Wrong
    arguments raise BadConfig (a ValueError) when the first example comes, wrong features
    BadExample.
    """

    def __init__(
        self,
        learning_rate: Any = None,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.0,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float | None = None,
        clipvalue: float | None = None,
        clipnorm: float | None = None,
        global_clipnorm: float | None = None,
        table_bits: int = 18,
        hash_seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.learning_rate = learning_rate
        self.learning_rate_power = learning_rate_power
        self.initial_accumulator_value = initial_accumulator_value
        self.l1_regularization_strength = l1_regularization_strength
        self.l2_regularization_strength = l2_regularization_strength
        self.l2_shrinkage_regularization_strength = l2_shrinkage_regularization_strength
        self.beta = beta
        self.clipvalue = clipvalue
        self.clipnorm = clipnorm
        self.global_clipnorm = global_clipnorm
        self.table_bits = table_bits
        self.hash_seed = hash_seed
        self.options = options
        self._model: Model | None = None

    @property
    def model(self) -> Model:
        """The model behind; made when it is first needed."""
        if self._model is None:
            self._model = Model(config_of(self))
        return self._model

    def learn_one(self, x: Features, y: Any, w: float = 1.0) -> None:
        """Learn one example of weight w; y is True or 1 for a click."""
        self._learn([{"features": _named(x), "label": int(bool(y)), "weight": float(w)}])

    def predict_proba_one(self, x: Features, **_: Any) -> dict[Any, float]:
        """{False: ..., True: ...}; changes nothing."""
        p = float(self._predict([x])[0])
        return {False: 1.0 - p, True: p}

    def learn_many(self, X: Frame, y: Frame) -> None:  # noqa: N803
        """Learn the rows of a frame one after the other, as `learn_one` would."""
        pairs = zip(X.to_dict("records"), y.tolist(), strict=True)
        self._learn([{"features": _named(x), "label": int(bool(label))} for x, label in pairs])

    def predict_proba_many(self, X: Frame) -> Frame:  # noqa: N803
        """A frame with columns False and True and the index of X; changes nothing."""
        p = self._predict(X.to_dict("records"))
        return type(X)({False: 1.0 - p, True: p}, index=X.index)

    def _learn(self, examples: list[dict[str, Any]]) -> None:
        seed = self.model.config.hash_seed
        self.model.learn(ExampleBatch.from_examples(examples, hash_seed=seed))

    def _predict(self, features: Iterable[Features]) -> F64:
        seed = self.model.config.hash_seed
        examples = [{"features": _named(x)} for x in features]
        return self.model.predict(
            ExampleBatch.from_examples(examples, hash_seed=seed, require_labels=False)
        )

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and the model as the bytes of a snapshot."""
        state = dict(self.__dict__)
        if state["_model"] is not None:
            state["_model"] = model_to_bytes(state["_model"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what `__getstate__` gave; BadSnapshot when its bytes are damaged."""
        self.__dict__.update(state)
        if self._model is not None:
            self._model = model_from_bytes(state["_model"])


def _named(x: Features) -> dict[str, Any]:
    """The features with their names as text, as River allows any key."""
    return {str(name): value for name, value in x.items()}
