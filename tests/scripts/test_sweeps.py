"""Short seeded slices of `scripts/sweep`, and that each of its judges can find a fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app import recovery
from app.errors import LogError
from app.event_log import Append, Appended
from app.group import new_nonce
from app.writing import Writer
from scripts.sweep_run import aof, cuts, flips
from scripts.sweep_run import recovery as sweep_recovery
from scripts.sweep_run.aof_file import commands, units, units_within
from scripts.sweep_run.proxy import MESSAGE

ONE = b"*1\r\n$4\r\nPING\r\n"
MULTI = b"*1\r\n$5\r\nMULTI\r\n"
EXEC = b"*1\r\n$4\r\nEXEC\r\n"

SEED = 7  # a short life of another seed may lack what a sweep wants to damage


@pytest.fixture
def small_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """A life of a few operations on two servers."""
    monkeypatch.setattr(flips, "OPERATIONS", 80)
    monkeypatch.setattr(flips, "LANES", 2)


@pytest.fixture
def few_offsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the ends of every command, and some offsets between them."""
    monkeypatch.setattr(cuts, "WHOLE_MAX", 40)
    monkeypatch.setattr(cuts, "EDGE", 8)


def test_a_unit_is_a_command_or_a_whole_transaction() -> None:
    content = ONE + MULTI + ONE + ONE + EXEC + ONE
    found = units(content)
    assert [len(unit.commands) for unit in found] == [1, 4, 1]
    ends = [unit.end for unit in found]
    for size in range(len(content) + 1):
        kept = [unit.end for unit in units(content[:size])]
        assert kept == ends[: units_within(ends, size)]
    assert [command.name for command in commands(content)][1] == b"MULTI"


def test_prefixes_of_an_append_only_file() -> None:
    report = aof.sweep(operations=80, count=60, starts=3, seed=SEED)
    assert report["passed"], report
    assert report["operations"] >= 80
    assert report["server_starts"] == 3


def test_a_recovery_that_forgets_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    load = recovery.load

    async def forgetful(*given: Any) -> recovery.Loaded:
        loaded = await load(*given)
        loaded.model.deduplication.count = 0
        return loaded

    monkeypatch.setattr(recovery, "load", forgetful)
    # Where replicas have compared it takes itself out instead, and never settles.
    monkeypatch.setattr(sweep_recovery, "SETTLE_SECONDS", 0.2)
    report = aof.sweep(operations=80, count=1, starts=1, seed=SEED)
    assert any("serves" in fault for fault in report["first_faults"])


@pytest.mark.parametrize("command", ["append", "commit", MESSAGE])
def test_connections_that_fail(command: str, few_offsets: None) -> None:
    report = cuts.sweep(count=4, silences=1, seed=SEED, only=[command], stages=2)
    assert report["passed"], report
    assert sum(report["faults_injected"].values()) > 20


def test_an_append_that_is_repeated_as_another_is_found(
    few_offsets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def settle(writer: Writer, append: Append) -> Appended:
        for left in reversed(range(3)):
            try:
                return await writer._log.append(append)
            except LogError:
                if not left:
                    raise
                entries = [(payload, new_nonce()) for payload, _ in append.entries]
                append = replace(append, producer=new_nonce(), batch_number=1, entries=entries)
        raise AssertionError("unreachable")

    monkeypatch.setattr(Writer, "_settle", settle)
    report = cuts.sweep(count=4, silences=0, seed=SEED, only=["append"], stages=2)
    assert "without an id" in report["first_faults"][0]


def test_flipped_bits(small_life: None) -> None:
    report = flips.sweep(count=60, starts=3, seed=SEED)
    assert report["passed"], report
    assert report["outcomes"]["snapshot file"] == {"refused": 6}
