"""A few seeds of scripts/acceptance/checkpoint_race: two checkpoint while a third is loading."""

from __future__ import annotations

from pathlib import Path

from scripts.acceptance.checkpoint_race import race


async def test_a_loader_stopped_for_an_interval_loads_once_and_right(
    redis_url: str, tmp_path: Path, seed: int
) -> None:
    first = seed % 1_000_000
    for outcome in await race(redis_url, tmp_path, range(first, first + 6)):
        assert outcome.good, outcome
