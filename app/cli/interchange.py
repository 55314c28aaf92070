"""`clickfold import` and `clickfold export`: files to weights to a snapshot, and back.

    import   file ─► LinearWeights ─► model_of ─► snapshot
    export   snapshot ─► features of a list or of logs ─► weights_of ─► file

A model has slots and no names, so whoever exports says which features to look at: a list, or logs
that mention them. Only q2.13, our own format, needs none. Arrays are read without pickle.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.cli.examples import NDJSON_BODY, NumberedExample
from app.cli.failures import CommandFailed, bad_usage
from app.ingest.slow_json import parse_json
from ftrl_core import arguments
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadBody, BadConfig, BadSnapshot, BadWeights
from ftrl_core.features import ObjectPairs
from ftrl_core.hyperparameters import Hyperparameters
from ftrl_core.interchange import (
    Feature,
    LinearWeights,
    feature_of,
    read_alphafm,
    read_arrays,
    read_vw,
    write_alphafm,
    write_arrays,
    write_coefficients,
    write_vw,
)
from ftrl_core.interchange.weights import FEATURES_MAX, LINE_BYTES_MAX, numbered_lines
from ftrl_core.model import Model
from ftrl_core.quantized import QuantizedModel
from ftrl_core.snapshot_file import read_snapshot
from ftrl_core.synthesis import lane_of, model_of, weights_of

ARRAYS_BYTES_MAX = 1 << 32
LINEAR = {"numbers": "raw", "scale": "none"}  # what every imported model has

_NAMES = "--names"


def read_names(path: Path | None) -> list[str] | None:
    """The names of a file, one a line; raises CommandFailed."""
    if path is None:
        return None
    try:
        return [text for _, text in numbered_lines(_lines(path))]
    except BadWeights as error:
        raise CommandFailed(f"{path}: {error}") from error


def read_weights(
    path: Path,
    file_format: str,
    names: list[str] | None,
    names_as: str,
    allow_unnamed: bool,
    trained_with: dict[str, Any],
) -> LinearWeights:
    """The weights of a file in one of the formats vw, alphafm, arrays; raises CommandFailed."""
    optimizer = _optimizer(trained_with) if trained_with else None
    try:
        if file_format == "vw":
            return read_vw(_lines(path), names, names_as, allow_unnamed)
        if file_format == "alphafm":
            return read_alphafm(_lines(path), optimizer)
        return read_arrays(_arrays(path), names, optimizer)
    except BadWeights as error:
        raise CommandFailed(f"{path}: {error}") from error


def _optimizer(given: dict[str, Any]) -> Hyperparameters:
    try:
        known = arguments.known("optimizer", given, Hyperparameters)
        if not isinstance(known.get("learning_rate"), int | float):
            raise BadConfig("learning_rate must be the number that the weights were trained with")
        return Hyperparameters(**known)
    except BadConfig as error:
        raise bad_usage(str(error), "--trained-with") from error


def _lines(path: Path) -> Iterator[bytes]:
    """Lines of the file; of one that is too long no more than shows that it is."""
    try:
        with path.open("rb") as file:
            while line := file.readline(LINE_BYTES_MAX + 2):
                yield line
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile) or loaded.zip is None:
                raise CommandFailed(f"{path} is one array; an .npz of arrays by name is expected")
            if sum(int(item.file_size) for item in loaded.zip.infolist()) > ARRAYS_BYTES_MAX:
                raise CommandFailed(f"{path} holds more than {ARRAYS_BYTES_MAX} bytes")
            return dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise CommandFailed(f"{path} is no .npz of plain arrays: {error}") from error
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error}") from error


def imported(
    weights: LinearWeights, config: dict[str, Any], confidence: float | None, collisions: str
) -> Model:
    """The model of the weights; raises typer.BadParameter for the configuration, CommandFailed."""
    try:
        resolved = ModelConfig.from_dict({**LINEAR, **config})
        return model_of(weights, resolved, confidence, collisions)
    except BadConfig as error:
        raise bad_usage(str(error), "--config") from error
    except BadWeights as error:
        raise CommandFailed(str(error)) from error


def load_model(path: Path) -> Model:
    """The model of a snapshot file; raises CommandFailed."""
    try:
        with path.open("rb") as file:
            return read_snapshot(file)[1]
    except OSError as error:
        raise CommandFailed(f"cannot read {path}: {error.strerror}") from error
    except BadSnapshot as error:
        raise CommandFailed(f"{path}: {error}") from error


def named_features(path: Path) -> list[Feature]:
    """The features of a list, one a line: name=value, or the name of a number."""
    names = read_names(path)
    assert names is not None
    try:
        return [feature_of(name) for name in names]
    except BadWeights as error:
        raise CommandFailed(f"{path}: {error}") from error


def mentioned_features(examples: Iterable[NumberedExample]) -> list[Feature]:
    """The distinct features of examples, in the order of their first mention."""
    found: dict[Feature, None] = {}
    for example in examples:
        if example.kind is not NDJSON_BODY:
            raise CommandFailed(f"{example.file}: names are read from ndjson, csv and criteo files")
        try:
            body = parse_json(example.body)
        except BadBody as error:
            raise CommandFailed(f"{example.place}: {error}") from error
        for name, value in _pairs(dict(_pairs(body)).get("features")):
            for item in value if isinstance(value, list) else [value]:
                if item is not None and item is not False:
                    found[name, item if isinstance(item, str) else None] = None
        if len(found) > FEATURES_MAX:
            raise CommandFailed(f"the data mention more than {FEATURES_MAX} features")
    return list(found)


def _pairs(value: object) -> Iterable[tuple[str, object]]:
    return value.items() if isinstance(value, ObjectPairs) else ()


def exported(
    model: Model, file_format: str, features: list[Feature], lane: int | None, seed: int
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the file, and what to tell of it. Raises typer.BadParameter, CommandFailed."""
    try:
        lane = lane_of(model, lane)
        if file_format == "q2.13":
            small = QuantizedModel.from_model(model, lane, seed)
            return _npz(small.to_arrays()), {"lane": lane, "slots": small.slots.size}
        weights = weights_of(model, features, lane)
        figures = {"lane": lane, "features": len(weights.features), "asked": len(features)}
        return _written(weights, file_format, model.config, lane), figures
    except BadConfig as error:
        raise bad_usage(str(error)) from error
    except BadWeights as error:
        raise CommandFailed(str(error)) from error


def _written(weights: LinearWeights, file_format: str, config: ModelConfig, lane: int) -> bytes:
    if file_format == "vw":
        return write_vw(weights, config.table_bits)
    if file_format == "alphafm":
        return write_alphafm(weights, config.optimizer, config.rates[lane])
    if file_format == "sklearn":
        return _npz(write_coefficients(weights))
    return _npz(write_arrays(weights))


def _npz(arrays: dict[str, npt.NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()
