"""History and reliability bins against an oracle from raw predictions; what they survive."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ftrl_core import curves, reports
from ftrl_core.checkpoint import CORE, Manifest, cut, segment_checksum
from ftrl_core.curves import FIRST_INTERVAL, POINTS_MAX, Curves
from ftrl_core.deduplication import LEARN
from ftrl_core.metrics import Metrics
from ftrl_core.model import Model
from ftrl_core.position import Position
from ftrl_core.reports import Looked
from tests.oracle import curves as oracle
from tests.oracle.curves import Raw
from tests.oracle.streams import load, payload_of, random_batch

CONFIG = {"table_bits": 10, "deduplication_window": 4096}


def learned(seed: int, sizes: list[int], **options: Any) -> tuple[Model, Raw]:
    """A model and the raw predictions of what it learned, from entries of these sizes."""
    rng = np.random.default_rng(seed)
    model, parts = Model(CONFIG), []
    for seq, rows in enumerate(sizes, 1):
        batch = random_batch(rng, rows, **options)
        applied = model.apply(Position(1, seq), payload_of(batch), 1000 * seq)
        assert applied is not None
        kept = applied.verdicts == LEARN
        parts.append((applied.predictions[kept], batch.labels[kept], batch.weights[kept]))
    p, labels, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return model, Raw(p, labels, weights.astype(float))


def assert_close(found: Any, wanted: Any, name: str) -> None:
    if wanted is None:
        assert found is None, name
    else:
        absolute, relative = (1e-3, 0.0) if name == "auc" else (0.0, 1e-9)
        assert found == pytest.approx(wanted, abs=absolute, rel=relative), name


@pytest.mark.parametrize("options", [{}, {"weights": True, "ids": 5000}])
def test_against_the_oracle(seed: int, options: dict[str, Any]) -> None:
    model, raw = learned(seed, [1, 999, 600, 2000, 333, 77, 1500, 1], **options)
    looked = Looked.at(model.metrics)
    found = reports.history(looked)
    points = raw.p.size // FIRST_INTERVAL
    assert found["examples"] == [FIRST_INTERVAL * (i + 1) for i in range(points)]
    base = oracle.base_losses(raw)
    for i, last in enumerate(found["examples"]):
        for part, first in (("whole", 0), ("since", last - FIRST_INTERVAL)):
            columns = {name: column[i] for name, column in found[part].items()}
            for name, value in oracle.figures(raw.part(first, last)).items():
                assert_close(columns[name], value, name)
            weights = raw.weights[first:last]
            mean = (base[first:last] * weights).sum() / weights.sum()
            assert_close(columns["base_rate_log_loss"], mean, "base_rate_log_loss")
    bins = reports.reliability(looked)
    for part, single in (("whole", False), ("window", True)):
        for name, values in oracle.bins(raw, single=single).items():
            exact = name == "examples" or (not options and name in ("weight", "clicks"))
            rel = 0.0 if exact else 1e-6
            np.testing.assert_allclose(bins[part][name], values, rel, 0.0 if exact else 1e-12)


def scored(metrics: Metrics, rng: np.random.Generator, rows: int) -> Raw:
    logits = np.clip(rng.normal(-4.0, 1.5, rows), -15, 15)
    p = 1 / (1 + np.exp(-logits))
    labels = (rng.random(rows) < p).astype(np.uint8)
    ones = np.ones(rows, np.float32)
    metrics.update(logits, p, labels, ones, np.zeros(rows, np.uint8), seq=1, time_ms=2)
    return Raw(p, labels, ones.astype(float))


def test_a_full_history_is_thinned(seed: int) -> None:
    metrics = Metrics()
    examples = FIRST_INTERVAL * POINTS_MAX * 2 + 777
    raw = scored(metrics, np.random.default_rng(seed), examples)
    found = reports.history(Looked.at(metrics))
    interval = oracle.interval_of(examples)
    assert found["interval"] == interval == 4 * FIRST_INTERVAL
    assert found["examples"] == list(range(interval, examples + 1, interval))
    for i in (0, 1, len(found["examples"]) - 1):
        last = found["examples"][i]
        for part, first in (("whole", 0), ("since", last - interval)):
            wanted = oracle.figures(raw.part(first, last))
            if part == "since":
                wanted["auc"] = None  # a mean of parts: another figure than that of the stretch
            for name, value in wanted.items():
                if value is not None:
                    assert_close(found[part][name][i], value, name)


def test_grouping_changes_nothing_but_the_marks(seed: int) -> None:
    batches = [random_batch(np.random.default_rng(seed), 1200) for _ in range(2)]
    one, many = Model(CONFIG), Model(CONFIG)
    for batch in batches:
        one.learn(batch, 5)
        for first in range(0, 1200, 100):
            many.learn(batch.slice(first, first + 100), 5)
    ones, others = one.metrics.curves, many.metrics.curves
    assert ones.sums.tobytes() == others.sums.tobytes()
    assert ones.counts.tobytes() == others.counts.tobytes()
    assert ones.points.tobytes() == others.points.tobytes()
    assert ones.marks[:, 0].tolist() == others.marks[:, 0].tolist()


def test_a_checkpoint_brings_it_back(seed: int) -> None:
    model, _ = learned(seed, [900, 1200])
    taken = cut(model, -1)
    copy = load(Manifest.advance(None, taken, "a", "0" * 16), {"a": taken})
    batch = random_batch(np.random.default_rng(seed), 700)
    for one in (model, copy):
        one.learn(batch)
    assert copy.metrics.curves.to_bytes() == model.metrics.curves.to_bytes()
    assert copy.state_digest() == model.state_digest()


def test_an_older_versions_checkpoint_is_loaded_and_observed_from_there(seed: int) -> None:
    model, _ = learned(seed, [900])
    taken = cut(model, -1)
    core = json.loads(taken.segments[CORE])
    del core["observed"]
    taken.segments[CORE] = json.dumps(core).encode()
    taken.segment_checksums[CORE] = segment_checksum(taken.segments[CORE])
    copy = load(Manifest.advance(None, taken, "a", "0" * 16), {"a": taken})
    assert copy.agreed_digest() == model.agreed_digest()
    assert copy.state_digest() != model.state_digest()
    assert copy.metrics.scored == 900
    batch = random_batch(np.random.default_rng(seed), 1300)
    for one in (model, copy):
        one.learn(batch)
    assert copy.agreed_digest() == model.agreed_digest()
    found = reports.history(Looked.at(copy.metrics))
    assert (found["began_at_example"], found["examples"]) == (900, [900 + FIRST_INTERVAL])


def test_what_is_observed_changes_the_state_digest(seed: int) -> None:
    model, _ = learned(seed, [1300])
    before = model.state_digest(), model.agreed_digest()
    model.metrics.curves.points[0, 0] += 1
    assert model.state_digest() != before[0]
    assert model.agreed_digest() == before[1]


@pytest.mark.parametrize(
    "change", ["points", "interval", "waiting", "low", "high", "short", "long"]
)
def test_what_the_fold_could_not_have_made_is_refused(seed: int, change: str) -> None:
    model, _ = learned(seed, [1300])
    kept = model.metrics.curves
    if change == "points":
        kept.counts[curves.POINTS] = POINTS_MAX
    if change == "interval":
        kept.counts[curves.INTERVAL] = 0
    if change == "waiting":
        kept.counts[curves.WAITING] = -1
    if change == "low":
        kept.counts[curves.LOW] = -1
    if change == "high":
        kept.counts[curves.HIGHEST] = curves.BINS
    content = kept.to_bytes()
    content = content[:-8] if change == "short" else content
    content += b"\0" * 8 if change == "long" else b""
    with pytest.raises(ValueError, match="history"):
        Curves.from_bytes(content)
