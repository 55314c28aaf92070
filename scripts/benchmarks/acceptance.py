"""What was to be reached, computed from a run; a ratio is the median over the rounds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scripts.benchmarks.figures import Figures, best, of_line, ratios

OURS = ("ours", "ours, one rate")
PEERS = ("River", "Vowpal Wabbit")
VW_TEXT = "Vowpal Wabbit, text file"
LEARN_TO_TOUCH = {(1, 18): 1.5, (1, 24): 1.2, (4, 18): 2.4, (4, 24): 1.9}
APPLY_TO_LEARN = 1.3
BASE_MIB = 230  # of a service whose table is small
MIXED_P99_MS = {1: 10.0, 2: 5.0}  # by the number of workers


@dataclass(frozen=True)
class Verdict:
    """One line; `met` is None where it was not measured."""

    what: str
    bound: str
    shown: str
    met: bool | None


def at_least(what: str, bound: float, values: Sequence[float]) -> Verdict:
    """The median is to be at least so much."""
    return _judged(what, f"at least {bound:g}", values, lambda median: median >= bound)


def at_most(what: str, bound: float, values: Sequence[float]) -> Verdict:
    """The median is to be at most so much."""
    return _judged(what, f"at most {bound:g}", values, lambda median: median <= bound)


def _judged(what: str, bound: str, values: Sequence[float], meets: object) -> Verdict:
    if not values:
        return Verdict(what, bound, "", None)
    median = statistics.median(values)
    assert callable(meets)
    return Verdict(what, bound, f"{median:.2f}", bool(meets(median)))


def verdicts(run: Figures) -> list[Verdict]:
    """All that a run can say."""
    judges: dict[str, Callable[[Figures], Iterator[Verdict]]] = {
        "kernels": _kernels,
        "in_process": _in_process,
        "train": _train,
        "served": _served,
        "mixed": _mixed,
        "growth": _growth,
    }
    return [verdict for part, judge in judges.items() if part in run for verdict in judge(run)]


def _kernels(run: Figures) -> Iterator[Verdict]:
    for f in run["kernels"]:
        bound = LEARN_TO_TOUCH.get((f["lanes"], f["table_bits"]))
        which = f"{f['lanes']} rate{'s' * (f['lanes'] > 1)}, 2^{f['table_bits']} slots"
        if bound:
            yield at_most(f"learn kernel to touch-only, {which}", bound, [f["learn / touch"]])
            yield at_most(f"apply to learn kernel, {which}", APPLY_TO_LEARN, [f["apply / learn"]])


def _in_process(run: Figures) -> Iterator[Verdict]:
    for data, rounds in run["in_process"].items():
        for mine in OURS:
            vw = ratios(rounds, mine, VW_TEXT)
            yield at_least(f"fold to Vowpal Wabbit from text, {data}, {mine}", 20, vw)
            for kind in ("op", "summed"):
                names = [name for name in rounds[0] if name.startswith(f"TensorFlow {kind}")]
                peer = best(rounds, names)
                tf = ratios(rounds, mine, peer) if peer else []
                yield at_least(f"fold to TensorFlow's {kind} at its best, {data}, {mine}", 8, tf)


def _served(run: Figures) -> Iterator[Verdict]:
    rounds = run["served"]["rounds"]
    for suffix in ("", "_criteo"):
        of = {
            name: of_line(rounds, name + suffix)
            for name in ("predict", "learn", "learn_packed", "learn_arrow", "learn_1")
        }
        if not of["predict"]:
            continue
        for mine in OURS:
            which = f"{mine}{', criteo' if suffix else ''}"
            yield at_least(f"/predict to echo, {which}", 0.8, ratios(of["predict"], mine, "echo"))
            yield from _to_best(f"/predict to the better peer, {which}", 4, of["predict"], mine)
            yield from _to_best(f"/learn to the better peer, {which}", 8, of["learn"], mine)
            yield from _to_best(
                f"/learn of one example to the better peer, {which}", 4, of["learn_1"], mine
            )
            for kind in ("packed", "arrow"):
                lines = zip(of["learn"], of[f"learn_{kind}"], strict=True)
                joined = [json | binary for json, binary in lines]
                yield at_least(f"/learn {kind} to XADD, {which}", 0.7, ratios(joined, mine, "XADD"))
                yield from _to_best(f"/learn {kind} to the better peer, {which}", 15, joined, mine)


def _train(run: Figures) -> Iterator[Verdict]:
    lines = run["train"].get("lines", {})
    if "vw" in lines:
        single, vw = lines["single"], lines["vw"]
        yield at_least("clickfold train to vw, one rate", 6, [single["times_faster_than_vw"]])
        worse = single["log_loss"] - vw["log_loss"]
        yield at_most("its log loss less vw's, thousandths", 1, [1000 * worse])
    speed = [lines["ndjson"]["examples_per_cpu_second"] / 1000] if lines else []
    yield at_least("clickfold train, thousand JSON lines/s of one processor", 400, speed)


def _mixed(run: Figures) -> Iterator[Verdict]:
    for name, loads in run["mixed"].items():
        if name != "missing":
            bound = MIXED_P99_MS[int(name.rpartition(", ")[2])]
            p99 = [figures["p99_ms"] for figures in loads["learning"]]
            yield at_most(f"p99 ms of /predict beside a bulk learner, {name} workers", bound, p99)


def _growth(run: Figures) -> Iterator[Verdict]:
    curves = run["growth"]
    for rates in (1, 4):
        which = f"{rates} rate{'s' * (rates > 1)}"
        of = {r["slots"]: r["apply_ns"] for r in curves.get("slots", []) if r["rates"] == rates}
        grown = [of["2^26"] / of["2^18"]] if "2^26" in of else []
        yield at_most(f"cost of a feature at 2^26 to that at 2^18 slots, {which}", 3, grown)
        of = {r["slots"]: r for r in curves.get("tables", []) if r["rates"] == rates}
        large = "2^24" in of
        for when in ("fresh", "learned"):
            above = [of["2^24"][f"{when} MiB"] - BASE_MIB] if large else []
            what = f"MiB of a 2^24 table above a base of {BASE_MIB}, {when}, {which}"
            yield at_most(what, 128 * rates, above)


def _to_best(
    what: str, bound: float, rounds: Sequence[dict[str, Figures]], mine: str
) -> Iterator[Verdict]:
    peer = best(rounds, PEERS)
    values = ratios(rounds, mine, peer) if peer else []
    yield at_least(f"{what} ({peer})" if peer else what, bound, values)
