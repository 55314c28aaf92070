"""The table of ftrl_core.Model beside `vw --ftrl`, and both beside a float64 fold."""

from __future__ import annotations

import importlib.metadata

import numpy as np

from scripts.differential_run.vw_side import (
    SETTINGS,
    clickfold_predictions,
    float64_predictions,
    vw_predictions,
)
from scripts.differential_run.vw_streams import streams

BOUND = 1e-4
# Logits far beyond 15, where the two clamps differ; rounding is amplified from step to step.
CHAOTIC = {"large numbers"}


def print_table(seed: int) -> bool:
    """Print the table; whether every prediction agrees within the bound."""
    print(f"Vowpal Wabbit {importlib.metadata.version('vowpalwabbit')}; seed {seed}\n")
    columns = ["stream", "examples", "alpha, beta, l1, l2", "max", "mean"]
    columns += ["VW from float64", "ours from float64"]
    print(f"| {' | '.join(columns)} |")
    print("|---|---|---|---|---|---|---|")
    holds = True
    for name, read in streams(seed).items():
        examples = list(read())
        for setting in SETTINGS:
            theirs = vw_predictions(examples, setting)
            ours = clickfold_predictions(examples, setting)
            apart = np.abs(ours - theirs)
            holds &= name in CHAOTIC or bool((apart <= BOUND).all())
            figures = [apart.max(), apart.mean()]
            for predictions, logit_max in ((theirs, 50.0), (ours, 15.0)):
                exact = float64_predictions(examples, setting, logit_max)
                figures.append(np.abs(predictions - exact).max())
            cells = " | ".join(f"{value:.1e}" for value in figures)
            print(f"| {name} | {len(examples)} | {setting} | {cells} |", flush=True)
    return holds
