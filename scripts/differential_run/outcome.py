"""What a case comes to, and how far two outcomes are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Outcome:
    """Weights of all variables, one after the other, after each step; z and n after the last."""

    weights: list[npt.NDArray[Any]]
    z: npt.NDArray[Any]
    n: npt.NDArray[Any]

    def parts(self) -> list[npt.NDArray[Any]]:
        """The arrays that are compared, each by itself."""
        return [np.concatenate(self.weights), self.z, self.n]


def distance(ours: Outcome, theirs: Outcome) -> float:
    """The largest difference of a w, z or n, relative to the largest w, z or n of the case.

    Relative to its own magnitude it would say little about a weight just above the l1 threshold,
    where |z| - l1 cancels. NaN or infinity on one side alone is an infinite distance.
    """
    worst = 0.0
    for a, b in zip(ours.parts(), theirs.parts(), strict=True):
        if not (np.isfinite(a) == np.isfinite(b)).all():
            return float("inf")
        apart = np.nanmax(np.abs(a.astype(np.float64) - b), initial=0.0)
        scale = np.nanmax(np.abs(b).astype(np.float64), initial=0.0)
        worst = max(worst, float(apart / scale) if scale > 0 else float(apart))
    return worst
