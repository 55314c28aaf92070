"""Keys that change while the service runs, that are two at once, and that the command makes."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.auth import KeyFile
from app.cli.main import app as command
from app.connection_guard import ConnectionGuard
from app.key_lines import digest_of, line_of, new_key, number_of, read_lines
from ftrl_core.errors import BadConfig
from tests.app.direct_client import ONE, Client, request
from tests.app.http_service import running

runner = CliRunner()


def rewritten(file: Path, *lines: str) -> None:
    """Replace the file in one step, as an editor or a secret store does."""
    part = file.with_suffix(".part")
    part.write_text("\n".join(lines) + "\n")
    part.replace(file)


async def test_keys_change_without_a_restart(redis_url: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old, new = (line_of("web", ["predict"], "*", key) for key in ("old-key", "new-key"))
    rewritten(file, old)
    async with running(redis_url, tmp_path, keys_file=file) as service:
        await (await service.hub.get("default")).settled(60)
        key_file: KeyFile = service.app.state.key_file
        guard = ConnectionGuard()
        key_file.changed = guard.forget_heads
        client = Client(service, direct=True, guard=guard)

        async def status(key: str) -> int:
            key_file.look()
            reply = await client.ask(request(ONE, "/predict", f"Authorization: Bearer {key}"))
            return int(reply.split(b" ")[1])

        for _ in range(3):  # from the second on the head is known
            assert (await status("old-key"), await status("new-key")) == (200, 401)
        rewritten(file, old, new)
        for _ in range(3):
            assert (await status("old-key"), await status("new-key")) == (200, 200)
        rewritten(file, new)
        assert (await status("old-key"), await status("new-key")) == (401, 200)


@pytest.mark.parametrize("broken", ["", "web fly * x", "web predict"])
async def test_a_broken_file_changes_nothing_and_lets_nobody_in(
    broken: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    rewritten(file, line_of("web", ["predict"], "*", "the-key"))
    key_file = KeyFile(None, file)
    for _ in range(2):
        rewritten(file, broken)
        key_file.look()
        assert key_file.ring.holder([b"Bearer the-key"]).name == "web"
    file.unlink()
    key_file.look()
    assert not key_file.ring.is_empty
    assert "stay as they were" in caplog.text
    assert "the-key" not in caplog.text


def test_two_lines_of_a_name_are_one_writer_and_two_names_of_a_number_are_refused() -> None:
    first, second = read_lines(
        [("1", line_of("a", ["learn"], "*", "x")), ("2", line_of("a", ["learn"], "*", "y"))]
    )
    assert first.number == second.number == number_of("a")
    seen: dict[int, str] = {}
    for n in range(10_000):
        name = f"key-{n}"
        other = seen.setdefault(number_of(name), name)
        if other != name:
            break
    else:
        raise AssertionError("there must be two of 10,000 names with one number")
    lines = [("1", line_of(one, ["learn"], "*", one)) for one in (name, other)]
    with pytest.raises(BadConfig, match="rename"):
        read_lines(lines)


@pytest.mark.parametrize(
    "line",
    [
        "web predict * rate=x k",
        "web predict * rate=-1 k",
        "web predict * rate=1 rate=2 k",
        "web predict * share=0 k",
        "web predict * share=1.5 k",
        "web predict * colour=red k",
        "web predict rate=1 ads k",
        "a\u00e9 predict * k",
        "a\x1b[31m predict * k",
    ],
)
def test_lines_that_are_refused(line: str) -> None:
    with pytest.raises(BadConfig) as caught:
        read_lines([("keys, line 1", line)])
    assert str(caught.value).isprintable()


def test_options_of_a_line() -> None:
    line = line_of("t", ["learn"], "ads-*", "k", ["rate=500", "share=0.25"])
    (key,) = read_lines([("1", line)])
    assert (key.rate, key.share, key.models) == (500.0, 0.25, ("ads-*",))
    (key,) = read_lines([("1", "t learn rate=0 a-plain-key")])
    assert (key.rate, key.share, key.models, key.is_plain) == (0.0, None, None, True)


def test_the_command_makes_keys_that_fit_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = []
    for name, scope in (("web", "predict,read"), ("web", "predict"), ("ops", "admin")):
        result = runner.invoke(
            command, ["keys", "new", name, "--scope", scope, "--file", str(file)]
        )
        assert result.exit_code == 0, result.output
        made.append(result.stdout.strip())
        assert made[-1] not in file.read_text()
        assert digest_of(made[-1]) in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    ring = KeyFile(None, file).ring
    assert [ring.holder([b"Bearer " + key.encode()]).name for key in made] == ["web", "web", "ops"]
    listed = runner.invoke(command, ["keys", "list", "--file", str(file), "--json"])
    assert [row["scopes"] for row in json.loads(listed.stdout)] == [
        "predict,read", "predict", "admin",
    ]  # fmt: skip
    checked = runner.invoke(command, ["keys", "check", "--file", str(file)], input=made[2] + "\n")
    assert checked.stdout.startswith("ops")
    wrong = runner.invoke(command, ["keys", "check", "--file", str(file)], input="nonsense\n")
    assert wrong.exit_code == 1
    assert "nonsense" not in wrong.output


def test_the_command_refuses_what_the_service_would_not_read(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for arguments in (["web", "--scope", "fly"], ["we b", "--scope", "read"]):
        result = runner.invoke(command, ["keys", "new", *arguments, "--file", str(file)])
        assert result.exit_code == 2
    assert not file.exists()
    file.symlink_to(tmp_path / "nowhere" / "x")
    result = runner.invoke(command, ["keys", "new", "a", "--scope", "read", "--file", str(file)])
    assert result.exit_code == 1


def test_keys_are_long_and_never_the_same() -> None:
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(key) == 46 and key.startswith("cf_") for key in made)
