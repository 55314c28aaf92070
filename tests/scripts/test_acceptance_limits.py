"""Short slices of the acceptance runs about limits."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from scripts.acceptance import giant_bodies, slow_connections

BODY, DECOMPRESSED = 2 << 20, 4 << 20


def test_giant_bodies_are_refused_and_a_large_file_is_learned(tmp_path: Path) -> None:
    limits = {
        "CLICKFOLD_LIMIT_BODY_BYTES": str(BODY),
        "CLICKFOLD_LIMIT_DECOMPRESSED_BYTES": str(DECOMPRESSED),
    }
    report = giant_bodies.measure(24, tmp_path, **limits)
    assert giant_bodies.is_met(report, BODY, DECOMPRESSED), report


def test_slow_connections_take_no_more_than_their_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delays are not judged here."""
    monkeypatch.setattr(slow_connections, "SETTLE_SECONDS", 0.7)
    given = argparse.Namespace(connections=40, runs=1, seconds=0.7, warm_up=0.0, seed=1)
    report = slow_connections.measure(given, tmp_path)
    assert set(report["opened"]) == set(slow_connections.KINDS)
    assert report["ratio"].keys() == {"predict_p99_ms", "learn_p99_ms"}
    assert report["resident_mb_most"] <= report["bound_mb"] + 16
