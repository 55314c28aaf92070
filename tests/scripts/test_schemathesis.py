"""A short run of `scripts/schemathesis`, where its environment has been made."""

from __future__ import annotations

import pytest

from scripts.schemathesis_run import __main__ as run


@pytest.mark.slow
def test_it_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    if not run.SCHEMATHESIS.exists():
        pytest.skip("no .venv-schemathesis: ./scripts/schemathesis makes it")
    monkeypatch.setattr("sys.argv", ["scripts/schemathesis", "--examples", "1"])
    assert run.main() == 0
