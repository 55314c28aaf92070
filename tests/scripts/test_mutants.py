"""Every planted bug still applies to the present tree, changes it, and compiles.

Python must parse; Lua is compiled by a real server, which `SCRIPT LOAD` does without running it.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from app.redis_connections import RedisConnections
from scripts.mutants_run import MUTATIONS
from scripts.mutants_run.mutation import Edit, Misfit, Mutation

ROOT = Path(__file__).parent.parent.parent


def test_there_are_enough_and_each_has_a_name_and_a_reason() -> None:
    assert len(MUTATIONS) >= 30
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)
    assert all(one.why for one in MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_it_applies_and_python_parses(mutation: Mutation) -> None:
    for name, text in mutation.changed(ROOT).items():
        assert text != (ROOT / name).read_text()
        if name.endswith(".py"):
            ast.parse(text, name)


async def test_lua_compiles(redis_url: str) -> None:
    connections = RedisConnections.from_url(redis_url)
    common = (ROOT / "app/lua/common.lua").read_text()
    try:
        for mutation in MUTATIONS:
            for name, text in mutation.changed(ROOT).items():
                if name.endswith(".lua"):
                    await connections.write_command("SCRIPT", "LOAD", common + text)
    finally:
        await connections.aclose()


def test_a_text_that_is_not_there_once_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("x = 1", "y"):
        with pytest.raises(Misfit):
            Mutation("m", "why", (Edit("a.py", old, "z"),)).changed(tmp_path)
