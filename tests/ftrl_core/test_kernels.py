"""The kernels: equal to the paper in float64, to the reference fold bit for bit, always finite."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ftrl_core import constants, kernels
from ftrl_core.batch import F32, ExampleBatch
from ftrl_core.config import ModelConfig
from ftrl_core.constants import fold_constants
from ftrl_core.coordinate import weight_of
from ftrl_core.dither import dither, dithered_sum, example_seed
from ftrl_core.entry import ExamplesEntry, decode, plan_entries, whole_request
from ftrl_core.jit import kernel
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.vector import load, spread, store
from tests.oracle import exact
from tests.oracle.streams import ONE_RATE, folded, payloads, random_batch

# ALGORITHM 1.5 F: the paper's Algorithm 1 from start to end, made with another program.
PAPER = {
    "learning_rate": 0.1,
    "beta": 1.0,
    "initial_accumulator_value": 0.0,
    "l1_regularization_strength": 0.05,
    "l2_regularization_strength": 0.005,  # Keras counts it twice: the paper's lambda2 is .01
}
PAPER_EXAMPLES: list[tuple[dict[int, float], int, float]] = [
    ({0: 1, 1: 1}, 1, 1),
    ({0: 1, 2: 2}, 0, 1),
    ({0: 1, 1: 1, 2: 1}, 1, 2),
    ({0: 1, 3: -1}, 0, 1),
    ({0: 1, 1: 1}, 1, 1),
]
PAPER_PREDICTIONS = [0.5, 0.507494442005, 0.495618750138, 0.511367168470, 0.525231192071]
PAPER_STATE = [  # z, n, w
    (-1.095794879640, 2.012054191488, 0.043224149463),
    (-2.245489170165, 1.493007201833, 0.098767477987),
    (0.205364721190, 2.047804215514, -0.006388312359),
    (-0.511367168470, 0.261496380989, 0.030506293583),
]


def arrays(examples: list[tuple[dict[int, float], int, float]]) -> ExampleBatch:
    """Examples whose features are named by their slots."""
    slots = [slot for features, _, _ in examples for slot in features]
    values = [value for features, _, _ in examples for value in features.values()]
    offsets = [0, *itertools.accumulate(len(features) for features, _, _ in examples)]
    return ExampleBatch(
        np.array(offsets, np.int64),
        np.zeros(len(slots), np.uint32),
        np.array(slots, np.uint32),
        np.array(values, np.float32),
        np.array([label for _, label, _ in examples], np.uint8),
        np.array([weight for _, _, weight in examples], np.float32),
        np.zeros(len(examples), np.uint64),
    )


def learn_without_bias(model: Model, batch: ExampleBatch) -> list[float]:
    """Learn row by row with the bias held at zero, as the paper's example has none."""
    predictions = []
    for row in range(batch.rows):
        predictions += model.learn(batch.slice(row, row + 1)).tolist()
        model.bias[:] = 0.0
    return predictions


def test_the_paper_end_to_end() -> None:
    model = Model({"table_bits": 2, "optimizer": PAPER})
    predictions = learn_without_bias(model, arrays(PAPER_EXAMPLES))
    assert predictions == pytest.approx(PAPER_PREDICTIONS, rel=1e-6)
    for slot, (z, n, w) in enumerate(PAPER_STATE):
        stored_z, stored_n = (float(x) for x in model.table.cells[2 * slot : 2 * slot + 2])
        assert stored_z / 0.1 == pytest.approx(z, rel=2e-6, abs=2e-7)  # the table holds alpha z
        assert stored_n == pytest.approx(n, rel=1e-6)
        assert model.weight(stored_z, stored_n) == pytest.approx(w, rel=3e-6, abs=2e-8)


VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "defaults, numbers as they are": {"numbers": "raw"},
    "defaults, l1, l2, bias regularised": {
        "bias_regularized": True,
        "optimizer": {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.3},
    },
    "one rate, unit scale": {"scale": "unit", "optimizer": {"learning_rate": 0.1}},
    "one rate, both views": {"numbers": "auto", "optimizer": {"learning_rate": 0.1}},
    "one rate": {"optimizer": {"learning_rate": 0.1}},
    "one rate, bins": {"numbers": "log_bins", "optimizer": {"learning_rate": 0.1}},
    "three rates, much sharing": {
        "mixture_share": 0.05,
        "optimizer": {"learning_rate": [0.7, 0.001, 0.2], "l1_regularization_strength": 0.01},
    },
    "eight rates, no sharing": {
        "mixture_share": 0.0,
        "optimizer": {"learning_rate": [2.0**-i for i in range(8)]},
    },
    "one slot": {"table_bits": 1},
    "tiny table": {"table_bits": 4, "optimizer": {"learning_rate": 0.5}},
    "l1": {"optimizer": {"l1_regularization_strength": 0.3}},
    "l1, l2, n0": {
        "optimizer": {
            "learning_rate": 0.05,
            "beta": 0.0,
            "initial_accumulator_value": 0.1,
            "l1_regularization_strength": 0.02,
            "l2_regularization_strength": 0.7,
        }
    },
    "nothing but a rate": {"optimizer": {"learning_rate": 3.0, "beta": 0.0}},
    "bias regularised": {
        "bias_regularized": True,
        "hash_seed": 0xFFFFFFFF,
        "optimizer": {"l1_regularization_strength": 1.0, "l2_regularization_strength": 2.0},
    },
}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_reference_fold_bit_for_bit(name: str, seed: int) -> None:
    given = {"table_bits": 9, "deduplication_window": 50, **VARIANTS[name]}
    reference = exact.ExactFold(ModelConfig.from_dict(given).to_dict())
    model = Model(given)
    streams = [
        payloads(seed, 4, scale=2.0, weights=True),
        payloads(seed + 1, 2, features=70, numbers=0.5, scale=1e-3),
        payloads(seed + 2, 2, scale=1e7, weights=True, ids=90),
        payloads(seed + 3, 2, scale=1e-20),
    ]
    for seq, payload in enumerate(itertools.chain(*streams), 1):
        applied = model.apply(Position(1, seq), payload, 0)
        reference.apply(payload)
        assert applied is not None
        assert applied.predictions.tobytes() == np.array(reference.predictions).tobytes(), seq
        assert model.digest() == reference.digest(), seq
    assert (model.examples, model.duplicates) == (reference.examples, reference.duplicates)
    assert model.duplicates > 0


def test_predict_is_what_learn_predicts_first(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = folded({"table_bits": 8}, payloads(seed, 3))
    for _ in range(50):
        batch = random_batch(rng, 1)
        before = model.digest()
        expected = model.predict(batch)
        assert model.digest() == before
        assert model.learn(batch).tobytes() == expected.tobytes()


def test_how_a_stream_is_cut_into_entries_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batch = random_batch(rng, 400, weights=True, ids=300)
    digests, rests = set(), set()
    for cuts in ([], [1], [399], [7, 8, 9, 200], list(range(1, 400))):
        model = Model({"table_bits": 6, "deduplication_window": 64})
        edges = [0, *cuts, 400]
        for first, last in itertools.pairwise(edges):
            model.learn(batch.slice(first, last))
        digests.add(model.digest())
        model.position = Position(1, 1)
        rests.add(model.state_digest())
    assert len(digests) == len(rests) == 1


def test_planned_entries_change_nothing(seed: int) -> None:
    """The cuts that a large request really gets, through the bytes of entries."""
    rng = np.random.default_rng(seed)
    batch = random_batch(rng, 2_000, features=120)
    ranges = plan_entries(batch)
    assert len(ranges) > 2
    whole, cut = Model({"table_bits": 12}), Model({"table_bits": 12})
    whole.learn(batch)
    for seq, (first, last) in enumerate(ranges, 1):
        part = batch.slice(first, last)
        assert part.nnz <= 32_768
        cut.apply(Position(1, seq), ExamplesEntry(part, whole_request(part)))
    assert whole.digest() == cut.digest()


def test_the_order_of_features_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = {f"f{i}": str(rng.integers(5)) for i in range(90)}
    numbers = {f"n{i}": rng.normal(size=3).tolist() for i in range(20)}
    models = []
    for _ in range(4):
        names = [*features, *numbers]
        rng.shuffle(names)
        model = Model({"table_bits": 5})
        shuffled = {name: {**features, **numbers}[name] for name in names}
        for name in numbers:
            shuffled[name] = rng.permutation(numbers[name]).tolist()
        for label in (1, 0, 1):
            model.learn(ExampleBatch.from_examples([{"label": label, "features": shuffled}]))
        models.append(model)
    assert len({model.digest() for model in models}) == 1


def test_features_that_share_a_slot_all_count() -> None:
    """All read the weight before the example, then update one after the other: none is lost."""
    model = Model({"table_bits": 1, "optimizer": PAPER})
    batch = arrays([({0: 1.0, 2: 2.0, 4: -3.0, 1: 1.0}, 1, 1.0), ({0: 1.0, 2: 1.0}, 0, 1.0)])
    assert model.learn(batch.slice(0, 1))[0] == 0.5
    assert float(model.table.cells[1]) == pytest.approx(0.25 * (1 + 4 + 9), rel=1e-6)
    # z = alpha g - sigma w of each in turn; all weights were zero
    assert float(model.table.cells[0]) == pytest.approx(0.0, abs=1e-8)
    assert float(model.table.cells[3]) == pytest.approx(0.25, rel=1e-6)


def extreme_batch(rng: np.random.Generator, rows: int, table: int) -> ExampleBatch:
    """Rows of five features with the greatest and least values and weights that are legal."""
    values = rng.choice([1e7, -1e7, 4.096e10, -4.096e10, 1e-30, -1e-30, 1.0, 0.0], 5 * rows)
    weights = rng.choice([1e6, 1e6, 1e-30, 0.0, 1.0], rows)
    return ExampleBatch(
        np.arange(0, 5 * rows + 1, 5, dtype=np.int64),
        np.zeros(5 * rows, np.uint32),
        np.sort(rng.integers(0, table, (rows, 5)), axis=1).astype(np.uint32).ravel(),
        values.astype(np.float32),
        rng.integers(0, 2, rows).astype(np.uint8),
        weights.astype(np.float32),
        np.zeros(rows, np.uint64),
    )


@pytest.mark.parametrize("optimizer", [
    {},
    {"learning_rate": 0.1},
    {"learning_rate": [1e6, 1e-6, 1.0], "beta": 0.0},
    {"learning_rate": 1e6, "beta": 0.0, "learning_rate_power": -2.0},
    {"learning_rate": 1e6, "beta": 0.0, "learning_rate_power": 0.0},
    {"learning_rate": 1e6, "beta": 0.0, "l2_shrinkage_regularization_strength": 1e6},
    {"learning_rate": 1e6, "beta": 0.0},
    {"learning_rate": 1e-6, "beta": 0.0, "l1_regularization_strength": 1e6},
    {"learning_rate": 1e6, "initial_accumulator_value": 1e6, "l2_regularization_strength": 1e6},
])  # fmt: skip
def test_finite_by_construction(optimizer: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = Model({"table_bits": 4, "optimizer": optimizer})
    for _ in range(25):
        predictions = model.learn(extreme_batch(rng, 1_000, 16))
        assert (predictions > 0).all()
        assert (predictions < 1).all()
        assert np.isfinite(model.table.cells).all()
        assert np.isfinite(model.bias).all()
        slots = model.table.cells.reshape(-1, 2, model.config.lanes)
        for lane in range(model.config.lanes):
            pairs = slots[:, :, lane].tolist()
            assert all(math.isfinite(model.weight(z, n, lane)) for z, n in pairs)
    assert all(x is None or math.isfinite(x) for x in model.stats()["window"].values())


def test_what_a_fold_cannot_reach_is_finite_too() -> None:
    """States at the clamps, where sums and products overflow."""
    config = ModelConfig.from_dict(
        {"table_bits": 1, "optimizer": {"learning_rate": 0.1, "beta": 0.0}}
    )
    for z, n in itertools.product([-1e19, 0.0, 1e19], [0.0, 1e-45, 1e-30, 1e38]):
        assert math.isfinite(weight_of(config, z, n))
        for value, label in itertools.product([1e12, -1e12, 1e-30], [0, 1]):
            model = Model(config)
            model.table.cells[:] = np.array([z, n, -z, n], np.float32)
            batch = arrays([({0: value, 1: value}, label, 1e6)])
            assert 0 < model.learn(batch)[0] < 1
            assert np.isfinite(model.table.cells).all()


def hot_coordinate(updates: int) -> tuple[float, float]:
    """n of a slot after many small gradients: of the table, and in float64."""
    rng = np.random.default_rng(5)
    gradients = rng.uniform(1e-4, 3e-2, updates).astype(np.float32)
    table = np.array([0.0, 1000.0], np.float32)
    noise = [example_seed(9, i) for i in range(2)]
    assert noise[0] != noise[1]
    _add_all(table, gradients)
    return float(table[1]), 1000.0 + float((gradients.astype(np.float64) ** 2).sum())


LANES = (np.float32(0.0),)


@kernel
def _add_all(table: F32, gradients: F32) -> None:
    for i in range(gradients.size):
        u = spread(LANES, dither(example_seed(9, i), 0, 0))
        g, zero = spread(LANES, gradients[i]), spread(LANES, np.float32(0.0))
        z, n = load(LANES, table, 0), load(LANES, table, 1)
        z, n = kernels.stepped(LANES, z, n, g, zero, u, zero, spread(LANES, np.float32(0.1)))
        store(table, 0, z)
        store(table, 1, n)


def test_the_dither_keeps_a_hot_coordinate_growing() -> None:
    n, expected = hot_coordinate(2_000_000)
    assert n == pytest.approx(expected, rel=1e-3)
    rounded = np.float32(1000.0)
    for g in np.random.default_rng(5).uniform(1e-4, 3e-2, 20_000).astype(np.float32):
        rounded = np.float32(rounded + np.float32(g * g))
    share = (float(rounded) - 1000.0) / ((expected - 1000.0) / 100)
    assert not 0.999 < share < 1.001, "rounding would do as well: this test tests nothing"


def test_a_hot_feature_keeps_its_learning_rate(seed: int) -> None:
    """The same through the model: 2 million examples with one feature each, against float64."""
    rng = np.random.default_rng(seed)
    model = Model({**ONE_RATE, "table_bits": 1, "hash_seed": seed})
    grown = 0.0
    for _ in range(20):
        rows = 100_000
        ones = np.ones(rows, np.float32)
        labels = (rng.random(rows) < 0.001).astype(np.uint8)
        batch = ExampleBatch(
            np.arange(rows + 1, dtype=np.int64), np.zeros(rows, np.uint32),
            np.zeros(rows, np.uint32), ones, labels, ones, np.zeros(rows, np.uint64),
        )  # fmt: skip
        predictions = model.learn(batch)
        grown += float(((predictions - labels).astype(np.float32).astype(np.float64) ** 2).sum())
    assert float(model.table.cells[1]) == pytest.approx(grown, rel=1e-3)


def test_the_dither_is_uniform_and_of_24_bits() -> None:
    drawn = np.array(
        [dither(example_seed(1, i), 3 * i, i % 40) for i in range(20_000)],
        np.float64,
    )
    assert (drawn * 2**24 == np.floor(drawn * 2**24)).all()
    counts = np.histogram(drawn, 16, (0.0, 1.0))[0]
    assert ((counts - 1250.0) ** 2 / 1250.0).sum() < 45.0  # chi squared, 15 degrees: p = 1e-4
    assert drawn.min() >= 0
    assert drawn.max() < 1


def test_a_dithered_sum_is_one_of_the_two_neighbours(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(2_000):
        n, g2 = (np.float32(x) for x in 10 ** rng.uniform(-30, 10, 2))
        u = np.float32(rng.integers(0, 2**24) * 2.0**-24)
        s = dithered_sum(n, g2, u)
        assert s == exact.dithered_sum(n, g2, u)
        true = float(n) + float(g2)
        low, high = np.nextafter(s, np.float32(0)), np.nextafter(s, np.float32(np.inf))
        assert float(low) < true < float(high) or true == float(s)


def test_pages_are_marked_where_slots_are_touched() -> None:
    model = Model({**ONE_RATE, "table_bits": 14})
    batch = arrays([({4096 * 3 + 5: 1.0, 7: 1.0}, 1, 1.0)])
    model.learn(batch)
    model.learn(arrays([({8: 1.0}, 1, 1.0)]))
    assert model.table.page_seqs.tolist() == [2, 0, 0, 1]


def test_weightless_rows_change_only_the_count() -> None:
    model = folded({"table_bits": 6}, payloads(1, 2))
    before = model.digest()
    batch = replace_weights(random_batch(np.random.default_rng(3), 20), 0.0)
    model.learn(batch)
    assert model.digest() == before
    assert model.examples == 100


def replace_weights(batch: ExampleBatch, weight: float) -> ExampleBatch:
    return replace(batch, weights=np.full(batch.rows, weight, np.float32))


def test_constants_and_the_weight_function() -> None:
    config = ModelConfig.from_dict({"optimizer": {**PAPER, "learning_rate": 0.2}})
    k = fold_constants(config)
    assert k[constants.THRESHOLD, 0] == 0.2 * 0.05
    assert k[constants.LAMBDA2, 0] == pytest.approx(0.2 * 0.01)
    assert k[constants.BIAS_THRESHOLD, 0] == k[constants.BIAS_LAMBDA2, 0] == 0.0
    assert weight_of(config, 0.01, 5.0) == 0.0  # |z| <= l1: the paper's z is .05
    z, n = 0.2 * -2.0, 4.0
    expected = (2.0 - 0.05) / ((1.0 + 2.0) / 0.2 + 0.01)
    assert weight_of(config, z, n) == pytest.approx(expected, rel=1e-6)


def test_a_decoded_entry_folds_like_its_batch(seed: int) -> None:
    batch = random_batch(np.random.default_rng(seed), 60, weights=True)
    a, b = Model({"table_bits": 7}), Model({"table_bits": 7})
    a.learn(batch)
    b.apply(Position(1, 1), decode(next(payloads(seed, 1, rows=60, weights=True))))
    assert a.state_digest() == b.state_digest()
