"""Whether memory grows: samples of a process' resident set, and the line through them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WARM_UP_SHARE = 0.4  # of a run: pools, rings and caches fill up first
GROWTH_MAX_BYTES = 8 << 20  # over the rest of a run that is no growth
GROUP = 3  # samples, of which the lowest counts: a request in flight may hold a large body
_PAGE = 4096


class Memory:
    """The samples of one process."""

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/statm")
        self._samples: list[tuple[int, int]] = []

    def sample(self, done: int) -> None:
        """Look, after so many requests."""
        resident = int(self._path.read_text().split()[1]) * _PAGE
        self._samples.append((done, resident))

    def report(self) -> dict[str, float]:
        """Bytes a thousand requests after the warm-up, with the half-width of their interval of
        95 percent, and what that is over those requests."""
        last = self._samples[-1][0]
        settled = [sample for sample in self._samples if sample[0] >= WARM_UP_SHARE * last]
        groups = [settled[at : at + GROUP] for at in range(0, len(settled), GROUP)]
        lowest = np.array([min(group, key=lambda s: s[1]) for group in groups], float)
        x, y = lowest[:, 0], lowest[:, 1]
        if x.size < 4:
            return {"samples": x.size, "slope": 0.0, "interval": 0.0, "growth_bytes": 0.0}
        slope, start = np.polyfit(x, y, 1)
        rest = y - slope * x - start
        spread = np.sqrt((rest**2).sum() / (x.size - 2) / ((x - x.mean()) ** 2).sum())
        return {
            "samples": x.size,
            "slope": round(float(1000 * slope), 1),
            "interval": round(float(1960 * spread), 1),
            "growth_bytes": round(float(slope * (x[-1] - x[0]))),
            "resident_bytes": float(y[-1]),
        }

    def grows(self) -> bool:
        """Whether the line rises by more than noise."""
        told = self.report()
        return told["growth_bytes"] > GROWTH_MAX_BYTES and told["slope"] > told["interval"]
