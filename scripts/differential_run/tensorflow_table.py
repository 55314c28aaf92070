"""The table of ftrl_core.Ftrl beside the Ftrl optimizers of TensorFlow's family."""

from __future__ import annotations

from collections.abc import Callable

from scripts.differential_run import tensorflow_side
from scripts.differential_run.cases import DENSE, SPARSE, Case, densified, make
from scripts.differential_run.clickfold_side import clickfold
from scripts.differential_run.outcome import Outcome, distance

Side = Callable[[Case], Outcome]
PYTHON_CASES = 15
BOUNDS = {"float64": 1e-12, "float32": 5e-5}
# Where the two formulas in Python mean something else; docs/differential.md tells what.
NOT_NEW = {"dense, clipvalue clipnorm", "dense, n0 is 0"}
NOT_NEW |= {kind for kind in SPARSE if "clip" in kind}


def dense_side(side: Side) -> Side:
    """The side on the densified case, as the formulas in Python treat a sparse one anyway."""
    return lambda case: side(densified(case))


Sides = dict[str, list[Outcome]]


def outcomes(seed: int, kind: str, dtype: str, count: int) -> Sides:
    """What each side makes of the cases of a class.

    The formulas in Python take part where they mean the same, and, being slow, in the first cases.
    """
    cases = [make(seed, kind, number, dtype) for number in range(count)]
    found = {
        "ours": [clickfold(case) for case in cases],
        "legacy": [tensorflow_side.legacy(case) for case in cases],
    }
    if kind not in NOT_NEW:
        few = cases[:PYTHON_CASES]
        found["ours, dense"] = [dense_side(clickfold)(case) for case in few]
        found["new"] = [tensorflow_side.new(case) for case in few]
        found["keras3"] = [dense_side(tensorflow_side.keras3)(case) for case in few]
    return found


def apart(some: Sides, side: str, others: Sides, other: str) -> float | None:
    """The largest distance of two sides over the cases; None where one was not run."""
    if side not in some or other not in others:
        return None
    return max(distance(a, b) for a, b in zip(some[side], others[other], strict=True))


def agreement(found: Sides) -> list[float | None]:
    """Ours from legacy, from new and from Keras 3."""
    pairs = (("ours", "legacy"), ("ours, dense", "new"), ("ours, dense", "keras3"))
    return [apart(found, ours, found, theirs) for ours, theirs in pairs]


def show(value: float | None) -> str:
    """A cell."""
    return "—" if value is None else f"{value:.1e}"


def print_table(seed: int, count: int) -> bool:
    """Print the table; whether every figure is within its bound."""
    kinds = (*DENSE, *SPARSE)
    total = 2 * count * len(kinds)
    print(f"{tensorflow_side.versions()}; seed {seed}; {count} cases a line, {total} in all;")
    print(f"the first {min(count, PYTHON_CASES)} of a line in the columns new and Keras 3\n")
    columns = ["class", "type", "tf-keras legacy", "tf-keras new", "Keras 3"]
    columns += ["legacy from float64", "ours from float64"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    holds = True
    for kind in kinds:
        found = {dtype: outcomes(seed, kind, dtype, count) for dtype in BOUNDS}
        for dtype, bound in BOUNDS.items():
            figures = agreement(found[dtype])
            holds &= all(value is None or value <= bound for value in figures)
            for side in ("legacy", "ours"):
                exact = apart(found[dtype], side, found["float64"], side)
                figures.append(exact if dtype == "float32" else None)
            print(f"| {kind} | {dtype} | " + " | ".join(map(show, figures)) + " |", flush=True)
    return holds
