"""The table of ftrl_core.Ftrl beside the Ftrl optimizers of TensorFlow's family."""

from __future__ import annotations

from collections.abc import Callable

from scripts.differential_run import tensorflow_side
from scripts.differential_run.cases import DENSE, SPARSE, Case, densified, make
from scripts.differential_run.clickfold_side import clickfold
from scripts.differential_run.outcome import Outcome, distance

Side = Callable[[Case], Outcome]
BOUNDS = {"float64": 1e-12, "float32": 5e-5}
# Where the two formulas in Python mean something else; docs/differential.md tells what.
NOT_NEW = {"dense, clipvalue clipnorm", "dense, n0 is 0"}
NOT_NEW |= {kind for kind in SPARSE if "clip" in kind}


def dense_side(side: Side) -> Side:
    """The side on the densified case, as the formulas in Python treat a sparse one anyway."""
    return lambda case: side(densified(case))


def figure(pairs: list[tuple[Outcome, Outcome]]) -> float:
    """The largest distance of any pair."""
    return max(distance(ours, theirs) for ours, theirs in pairs)


def agreement(seed: int, kind: str, dtype: str, count: int) -> list[float | None]:
    """Largest distances from legacy, new and Keras 3 over the cases of a class; None: not run."""
    cases = [make(seed, kind, number, dtype) for number in range(count)]
    figures: list[float | None] = [
        figure([(clickfold(case), tensorflow_side.legacy(case)) for case in cases])
    ]
    if kind in NOT_NEW:
        return [*figures, None, None]
    ours = [dense_side(clickfold)(case) for case in cases]
    new = [tensorflow_side.new(case) for case in cases]
    keras3 = [dense_side(tensorflow_side.keras3)(case) for case in cases]
    figures += [figure(list(zip(ours, theirs, strict=True))) for theirs in (new, keras3)]
    return figures


def rounding(seed: int, kind: str, count: int) -> list[float | None]:
    """Largest distances of float32 from float64, by legacy's own arithmetic and by ours."""
    numbers = range(count)
    pairs = [[make(seed, kind, i, dtype) for dtype in ("float32", "float64")] for i in numbers]
    return [
        figure([(side(narrow), side(wide)) for narrow, wide in pairs])
        for side in (tensorflow_side.legacy, clickfold)
    ]


def show(value: float | None) -> str:
    """A cell."""
    return "—" if value is None else f"{value:.1e}"


def print_table(seed: int, count: int) -> bool:
    """Print the table; whether every figure is within its bound."""
    kinds = (*DENSE, *SPARSE)
    total = 2 * count * len(kinds)
    print(f"{tensorflow_side.versions()}; seed {seed}; {count} cases a line, {total} in all\n")
    columns = ["class", "type", "tf-keras legacy", "tf-keras new", "Keras 3"]
    columns += ["legacy from float64", "ours from float64"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    holds = True
    for kind in kinds:
        for dtype, bound in BOUNDS.items():
            figures = agreement(seed, kind, dtype, count)
            holds &= all(value is None or value <= bound for value in figures)
            figures += rounding(seed, kind, count) if dtype == "float32" else [None, None]
            print(f"| {kind} | {dtype} | " + " | ".join(map(show, figures)) + " |", flush=True)
    return holds
