"""A synthetic click log whose true probabilities are known: a pure function of a seed.

    logit = BASE + effect(user) + effect(ad) + effect(site) + effect(slot) + effect(device)
                 + hour curve(hour) + match(segment, topic)
    label = 1 with probability sigmoid(logit)

What real logs have, it has: ids are Zipf-distributed (a few are everywhere, most are rare), clicks
follow the hour of the day, and half-way the world changes: half of the ads change their effect and
the hour curve moves by three hours. A learner that cannot forget shows it there. `match` is given
as a feature of its own (segment and topic crossed), so the truth is within a linear model's reach
and the truth's own log loss is the floor that a learner approaches.

Effects depend on the seed alone. Rows are drawn in blocks of a fixed size, each from a generator
of its own (seed, block), so that the log is the same however far it is read; only the place of the
drift depends on its length. numpy's PCG64 streams are stable between versions, its distribution
methods may not be, hence uniform draws and normal effects only at fixed places.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

BLOCK_ROWS = 8192
DAYS = 7  # the log spans a week, whatever its length
BASE_LOGIT = -2.2
HOUR_AMPLITUDE = 0.6
DRIFT_HOURS = 3
SEGMENTS, TOPICS = 6, 12


@dataclass(frozen=True)
class _Field:
    """A categorical field: how many ids, how skewed, how much they matter."""

    name: str
    prefix: str
    ids: int
    zipf: float
    deviation: float


FIELDS = (
    _Field("user", "u", 20_000, 1.1, 0.5),
    _Field("ad", "a", 1_000, 1.1, 0.8),
    _Field("site", "s", 3_000, 1.2, 0.5),
    _Field("slot", "p", 8, 0.7, 0.4),
    _Field("device", "d", 4, 0.7, 0.3),
)
_AD = 1


@dataclass(frozen=True)
class _Truth:
    """Everything the labels depend on."""

    cumulative: list[F64]  # per field, float64[ids]: P(rank <= r)
    before: list[F64]  # per field, float64[ids]: effects in the first half
    after: list[F64]
    match: F64  # float64[SEGMENTS, TOPICS]


@dataclass(frozen=True)
class LogBlock:
    """Rows of the log as arrays, each [rows]; ids are ranks, 0 the most frequent."""

    first_row: int
    ids: list[I64]
    hour: I64
    probability: F64
    label: I64


def generate(seed: int, examples: int) -> Iterator[tuple[dict[str, Any], float]]:
    """The log: (example in the JSON shape of /learn, its true click probability), in time order."""
    for block in generate_blocks(seed, examples):
        yield from _as_examples(block)


def generate_blocks(seed: int, examples: int) -> Iterator[LogBlock]:
    """The same log as arrays, for statistics and benchmarks."""
    truth = _make_truth(seed)
    for number, first in enumerate(range(0, examples, BLOCK_ROWS)):
        rows = min(BLOCK_ROWS, examples - first)
        yield _block(truth, seed, number, first, rows, examples)


def _make_truth(seed: int) -> _Truth:
    generator = np.random.default_rng([seed, 0])
    before = [generator.normal(0.0, f.deviation, f.ids) for f in FIELDS]
    match = generator.normal(0.0, 0.5, (SEGMENTS, TOPICS))
    after = [effects.copy() for effects in before]
    changes = generator.random(FIELDS[_AD].ids) < 0.5
    fresh = generator.normal(0.0, FIELDS[_AD].deviation, FIELDS[_AD].ids)
    after[_AD][changes] = fresh[changes]
    return _Truth([_zipf_cumulative(f.ids, f.zipf) for f in FIELDS], before, after, match)


def _zipf_cumulative(ids: int, exponent: float) -> F64:
    mass = np.arange(1, ids + 1, dtype=np.float64) ** -exponent
    cumulative: F64 = np.cumsum(mass) / mass.sum()
    return cumulative


def _block(truth: _Truth, seed: int, number: int, first: int, rows: int, total: int) -> LogBlock:
    # A whole block is drawn also for a short last one, so that a longer log begins the same.
    uniform = np.random.default_rng([seed, 1, number]).random((len(FIELDS) + 1, BLOCK_ROWS))
    uniform = uniform[:, :rows]
    ids = [
        np.minimum(np.searchsorted(cumulative, u), cumulative.size - 1).astype(np.int64)
        for cumulative, u in zip(truth.cumulative, uniform, strict=False)
    ]
    row = np.arange(first, first + rows, dtype=np.int64)
    hour = row * (DAYS * 24) // total % 24
    drifted = row >= total // 2
    logit = BASE_LOGIT + HOUR_AMPLITUDE * np.sin(2 * np.pi * (hour - DRIFT_HOURS * drifted) / 24)
    for before, after, chosen in zip(truth.before, truth.after, ids, strict=True):
        logit += np.where(drifted, after[chosen], before[chosen])
    logit += truth.match[ids[0] % SEGMENTS, ids[_AD] % TOPICS]
    probability = 1.0 / (1.0 + np.exp(-logit))
    return LogBlock(first, ids, hour, probability, (uniform[-1] < probability).astype(np.int64))


def _as_examples(block: LogBlock) -> Iterator[tuple[dict[str, Any], float]]:
    users, ads = block.ids[0], block.ids[_AD]
    segments, topics = (users % SEGMENTS).tolist(), (ads % TOPICS).tolist()
    columns = [
        [f"{f.prefix}{i}" for i in ids.tolist()] for f, ids in zip(FIELDS, block.ids, strict=True)
    ]
    rows = zip(
        *columns,
        block.hour.tolist(),
        segments,
        topics,
        block.label.tolist(),
        block.probability.tolist(),
        strict=True,
    )
    for user, ad, site, slot, device, hour, segment, topic, label, probability in rows:
        features = {
            "user": user,
            "ad": ad,
            "site": site,
            "slot": slot,
            "device": device,
            "hour": f"{hour:02d}",
            "segment_topic": f"g{segment}-t{topic}",
        }
        yield {"label": label, "features": features}, probability
