"""What is deployed, checked by parsers: no Docker engine is needed, and none has run these files.

The Dockerfile's reader below knows continuation lines and comments, which is all that file uses.
The lock files are checked against pyproject.toml offline: every dependency is locked with hashes.
"""

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parent.parent
PUBLIC_HOSTS = {"pypi.org", "files.pythonhosted.org"}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile as (INSTRUCTION, rest) in order."""
    lines = [line for line in read("Dockerfile").splitlines() if not line.startswith("#")]
    whole = re.sub(r"\\\n", "", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in whole.split("\n"))]


def values(name: str) -> list[str]:
    return [rest.strip() for word, rest in instructions() if word == name]


def read(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.fixture
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(read("docker-compose.yml"))
    return parsed


def test_dockerfile_has_two_stages_on_one_pinned_base() -> None:
    stages = [re.fullmatch(r"(python:3\.\d+-slim-\w+) AS (\w+)", line) for line in values("FROM")]
    assert [stage and stage[2] for stage in stages] == ["build", "service"]
    assert len({stage[1] for stage in stages if stage}) == 1
    assert any(line.startswith("--from=build ") for line in values("COPY"))


def test_dockerfile_installs_the_locked_wheels() -> None:
    locked = [line for line in values("RUN") if "requirements.lock" in line]
    assert len(locked) == 1
    assert "--require-hashes" in locked[0]
    assert "--only-binary :all:" in locked[0]


def test_the_service_is_not_root_and_says_how_it_is() -> None:
    words = [word for word, _ in instructions()]
    assert values("USER") == ["65532:65532"]
    assert words.index("USER") < words.index("ENTRYPOINT")
    (health,) = values("HEALTHCHECK")
    assert "/readyz" in health
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(values("ENTRYPOINT")[0]) + json.loads(values("CMD")[0]) == [
        "clickfold",
        "serve",
    ]


def test_programs_inside_the_dockerfile_are_python_and_the_kernels_are_warm() -> None:
    (warm,) = [json.loads(line) for line in values("RUN") if line.startswith("[")]
    health = json.loads(values("HEALTHCHECK")[0].partition(" CMD ")[2])
    for _, flag, program in (warm, health):
        assert flag == "-c"
        ast.parse(program)
    cache = re.search(r"NUMBA_CACHE_DIR=(\S+)", " ".join(values("ENV")))
    assert cache is not None
    assert any(cache[1] in line for line in values("RUN")), "the cache directory is never made"


def test_dockerignore_lets_through_what_is_copied_and_no_more() -> None:
    let_through = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copies = [line.split()[:-1] for line in values("COPY") if not line.startswith("--from")]
    assert let_through == {name for names in copies for name in names}
    assert all((ROOT / name).exists() for name in let_through)


def test_compose_states_the_durability_of_redis(compose: dict[str, Any]) -> None:
    redis = compose["services"]["redis"]
    words: list[str] = redis["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--no-appendfsync-on-rewrite"] == "no"
    assert options["--save"] == ""
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]
    assert redis["volumes"] == ["redis:/data"]
    assert "ports" not in redis, "Redis is for the replicas only"


def test_compose_runs_two_equal_replicas_that_demand_keys(compose: dict[str, Any]) -> None:
    replicas = {n: one for n, one in compose["services"].items() if n.startswith("clickfold")}
    assert len(replicas) == 2
    ports = [one.pop("ports") for one in replicas.values()]
    assert ports[0] != ports[1]
    first, second = replicas.values()
    assert first == second
    assert first["environment"]["CLICKFOLD_KEYS"].startswith("${CLICKFOLD_KEYS:?")
    assert first["depends_on"] == {"redis": {"condition": "service_healthy"}}
    mounted = [v for one in compose["services"].values() for v in one["volumes"]]
    named = {volume.partition(":")[0] for volume in mounted}
    assert {name for name in named if not name.startswith(".")} == set(compose["volumes"])


def test_compose_confines_every_container(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "cap_add" not in service, name
        assert service.get("privileged", False) is False, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["tmpfs"] == ["/tmp"], name
        assert service["pids_limit"] > 0, name
        user = service.get("user", values("USER")[0])
        assert int(user.partition(":")[0]) > 0, f"{name} is root"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        sources = {volume.partition(":")[0] for volume in service["volumes"]}
        assert sources <= compose["volumes"].keys(), f"{name} sees a folder of the host"
    assert compose["services"]["redis"]["networks"] == ["redis"]
    assert compose["networks"]["redis"] == {"internal": True}


def test_what_is_written_in_a_container_is_a_volume(compose: dict[str, Any]) -> None:
    environment = dict(re.findall(r"(\w+)=(\S+)", " ".join(values("ENV"))))
    mounted = [one.partition(":")[2] for one in compose["x-service"]["volumes"]]
    written = [environment["CLICKFOLD_DATA_DIR"], environment["NUMBA_CACHE_DIR"]]
    written.append(compose["x-service"]["environment"]["CLICKFOLD_SNAPSHOT_DIR"])
    for folder in written:
        assert any(Path(folder).is_relative_to(volume) for volume in mounted), folder


def test_a_stop_has_time_for_what_the_service_may_take(compose: dict[str, Any]) -> None:
    grace = int(compose["x-service"]["stop_grace_period"].removesuffix("s"))
    assert grace > 2 * Settings.model_fields["stop_seconds"].get_default()


def test_every_variable_named_is_a_setting(compose: dict[str, Any]) -> None:
    named = set(re.findall(r"CLICKFOLD_\w+", read("Dockerfile") + read("docker-compose.yml")))
    named |= set(compose["x-service"]["environment"])
    named -= {"CLICKFOLD_METRICS_KEY"}  # of Prometheus
    assert named <= {f"CLICKFOLD_{name.upper()}" for name in Settings.model_fields}


def test_lock_files_cover_the_project_and_name_public_hosts_only() -> None:
    project = tomllib.loads(read("pyproject.toml"))
    groups: dict[str, list[str]] = project["dependency-groups"]
    wanted = {
        "requirements.lock": project["project"]["dependencies"] + groups["tool"],
        "requirements-test.lock": sum(groups.values(), project["project"]["dependencies"]),
    }
    locked_by_uv = {package["name"] for package in tomllib.loads(read("uv.lock"))["package"]}
    for file, requirements in wanted.items():
        names = {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}
        pinned = set(re.findall(r"^([a-z0-9-]+)==", read(file), re.MULTILINE))
        assert names <= pinned & locked_by_uv, file
        assert read(file).count("==") < read(file).count("--hash=sha256:")
    hosts = re.findall(r"\w+://([^/\"\s]+)", "".join(read(name) for name in ("uv.lock", *wanted)))
    assert set(hosts) <= PUBLIC_HOSTS


SCRIPTS = (".ci/run", *(f"scripts/{name}" for name in ("check", "lock", "serve", "test")))


@pytest.mark.parametrize("name", [*SCRIPTS, "scripts/_environment"])
def test_scripts_parse_and_can_be_run(name: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / name)], check=True)
    sourced = name.endswith("_environment")
    assert sourced or (ROOT / name).stat().st_mode & 0o111
    assert sourced or read(name).startswith("#!/usr/bin/env bash\n")
