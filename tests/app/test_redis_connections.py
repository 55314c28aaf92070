"""What a server must keep, how URLs are shown, and which failures mean what."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.exceptions import ResponseError

from app import redis_connections
from app.embedded_server import EmbeddedServer
from app.errors import AppendUnknown, RedisAway, ServerRefused
from app.redis_connections import RedisConnections, mask_url
from app.redis_keys import ModelKeys, models_key
from app.server_facts import Promise, facts_of


@pytest.fixture
async def connections(redis_url: str) -> AsyncIterator[RedisConnections]:
    made = RedisConnections.from_url(redis_url)
    yield made
    await made.aclose()


@pytest.mark.compat
async def test_a_good_server_is_described(connections: RedisConnections) -> None:
    facts = await connections.check_server()
    assert facts.name in {"valkey", "redis"}
    assert facts.version >= (7, 0, 0)
    assert facts.durability == "fsync"
    assert len(facts.run_id) == 40


@pytest.mark.compat
@pytest.mark.parametrize(
    ("setting", "value", "refusing"),
    [
        ("maxmemory-policy", "allkeys-lru", {"fsync", "everysec"}),
        ("appendonly", "no", {"fsync", "everysec"}),
        ("appendfsync", "no", {"fsync", "everysec"}),
        ("appendfsync", "everysec", {"fsync"}),
        ("no-appendfsync-on-rewrite", "yes", {"fsync"}),
    ],
)
async def test_a_server_that_would_lose_is_refused(
    connections: RedisConnections, setting: str, value: str, refusing: set[str]
) -> None:
    """The error names the setting, what it is and what it should be."""
    await connections.write_command("CONFIG", "SET", setting, value)
    for durability in ("fsync", "everysec"):
        connections.promise = Promise(durability)
        if durability in refusing:
            with pytest.raises(
                ServerRefused, match=f"has {setting} {value}; .* is needed"
            ) as error:
                await connections.check_server()
            assert error.value.setting == setting
        else:
            assert (await connections.check_server()).durability == durability


@pytest.mark.compat
async def test_a_replica_is_refused(connections: RedisConnections) -> None:
    await connections.write_command("REPLICAOF", "127.0.0.1", "1")
    with pytest.raises(ServerRefused, match="role slave; master is needed"):
        await connections.check_server()


@pytest.mark.compat
async def test_without_config_only_provider_can_be_promised(connections: RedisConnections) -> None:
    await connections.write_command("ACL", "SETUSER", "default", "-config")
    with pytest.raises(ServerRefused, match="--durability provider") as error:
        await connections.check_server()
    assert error.value.setting == "CONFIG"
    connections.promise = Promise("provider")
    assert (await connections.check_server()).durability == "provider"
    await connections.write_command("ACL", "SETUSER", "default", "+config")
    await connections.write_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await connections.write_command("ACL", "SETUSER", "default", "-config")
    with pytest.raises(ServerRefused, match="maxmemory-policy allkeys-lru"):
        await connections.check_server()


@pytest.mark.compat
async def test_a_server_that_can_be_asked_is_not_taken_on_trust(
    connections: RedisConnections,
) -> None:
    connections.promise = Promise("provider")
    with pytest.raises(ServerRefused, match=r"appendonly yes.* say --durability fsync") as error:
        await connections.check_server()
    assert error.value.setting == "durability"


async def test_an_old_server_is_refused() -> None:
    info = b"# Server\r\nredis_version:6.2.14\r\nrole:master\r\n"
    with pytest.raises(ServerRefused, match=r"version 6\.2\.14; 7\.0 is needed"):
        facts_of([info, ResponseError("wrong number of arguments"), []], Promise("fsync"), "x")


@pytest.mark.parametrize("number", [0, 1])
def test_a_server_that_cannot_answer_now_is_not_refused(number: int) -> None:
    info = b"redis_version:7.0.1\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n"
    replies: list[object] = [info, [b"appendonly", b"yes"], []]
    replies[number] = ResponseError("LOADING the dataset")
    with pytest.raises(RedisAway):
        facts_of(replies, Promise("fsync"), "x")


async def test_an_append_on_a_new_connection_asks_the_server_first(
    connections: RedisConnections,
) -> None:
    """Behind the same address another server may answer: nothing is written to it unasked."""
    await connections.append_command("SET", "key", "1")
    await connections.write_command("CONFIG", "SET", "appendonly", "no")
    await connections.append_command("SET", "key", "2")  # nobody has looked yet
    await connections.read_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(ServerRefused, match="appendonly no"):
        await connections.append_command("SET", "key", "3")
    assert connections.refusal is not None
    assert await connections.read_command("GET", "key") == b"2"


async def test_waitaof_where_the_server_syncs_at_once(redis_url: str) -> None:
    made = RedisConnections.from_url(redis_url, waitaof=True)
    try:
        assert not (await made.check_server()).relies_on_waitaof
        assert await made.append_command("SET", "key", "1") == b"OK"
        await made.write_command("CONFIG", "SET", "appendfsync", "no")
        with pytest.raises(AppendUnknown, match=r"no sync: \[0, 0\]"):  # the numbers are looked at
            await made.append_command("SET", "key", "2")
        assert await made.read_command("GET", "key") == b"2"
        with pytest.raises(ServerRefused, match="appendfsync no; everysec or always is needed"):
            await made.check_server()
    finally:
        await made.aclose()


async def test_a_waitaof_that_does_not_wait_is_found_out(redis_url: str) -> None:
    """The bundled Valkey answers WAITAOF before it has synced, when it syncs once a second."""
    made = RedisConnections.from_url(redis_url, waitaof=True)
    try:
        await made.write_command("CONFIG", "SET", "appendfsync", "everysec")
        with pytest.raises(ServerRefused, match="answers WAITAOF before it has synced") as error:
            await made.append_command("SET", "key", "1")
        assert error.value.setting == "waitaof"
        assert await made.read_command("GET", "key") is None
    finally:
        await made.aclose()


async def test_a_waitaof_that_waits_is_believed(
    connections: RedisConnections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Redis 8 does: the reply comes with the next sync."""
    await connections.write_command("CONFIG", "SET", "appendfsync", "everysec")
    connections.promise = Promise("fsync", waitaof=True)
    monkeypatch.setattr(redis_connections, "WAITAOF", ("BLPOP", "nothing", "0.4"))
    monkeypatch.setattr(redis_connections, "_is_synced", lambda _: True)
    assert (await connections.check_server()).relies_on_waitaof
    started = time.monotonic()
    await connections.check_server()  # tried out once, not at every look
    assert time.monotonic() - started < 0.3


async def test_a_server_without_waitaof_is_refused(tmp_path: Path) -> None:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH")
    with EmbeddedServer.start(tmp_path, binary, "fsync") as server:
        if not server.version.startswith("7.0"):
            pytest.skip("it has WAITAOF")
        made = RedisConnections.from_url(server.url, waitaof=True)
        with pytest.raises(ServerRefused, match="has no WAITAOF") as error:
            await made.check_server()
        assert error.value.setting == "waitaof"
        await made.aclose()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://user:s@cret:x@host/1", "rediss://user:***@host/1"),
        ("redis://user:a/b@host/1", "redis://user:***@host/1"),
        ("unix:///run/r.sock?password=secret&db=2", "unix:///run/r.sock?password=***&db=2"),
        ("unix://user:secret@/run/r.sock", "unix://user:***@/run/r.sock"),
        ("redis://host:6379", "redis://host:6379"),
        ("unix:///tmp/x.sock", "unix:///tmp/x.sock"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert mask_url(url) == shown


@pytest.mark.parametrize("url", ["http://host", "host:6379", "redis://h:secret"])
def test_a_url_that_means_nothing(url: str) -> None:
    with pytest.raises(ServerRefused) as error:
        RedisConnections.from_url(url)
    assert error.value.setting == "redis_url"


def test_a_durability_that_means_nothing() -> None:
    with pytest.raises(ServerRefused, match="fsync, everysec or provider"):
        RedisConnections.from_url("unix:///tmp/x.sock", "always")


async def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    """A call on a connection just lost is unknown at worst, the next ones are surely not sent."""
    server = EmbeddedServer.start(tmp_path, "bundled", "fsync")
    connections = RedisConnections.from_url(server.url)
    await connections.write_command("SET", "key", "value")
    server.kill()
    with pytest.raises((RedisAway, AppendUnknown)):
        await connections.write_command("SET", "key", "other")
    with pytest.raises(RedisAway):
        await connections.write_command("SET", "key", "other")
    with pytest.raises(RedisAway):
        await connections.read_command("GET", "key")
    await connections.aclose()
    with EmbeddedServer.start(tmp_path, "bundled", "fsync") as again:
        connections = RedisConnections.from_url(again.url)
        assert await connections.read_command("GET", "key") == b"value"
        await connections.aclose()


async def test_a_read_survives_a_closed_connection(connections: RedisConnections) -> None:
    """A read is sent once more; the write client notices at the next call."""
    await connections.read_command("PING")
    await connections.write_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await connections.read_command("PING") == b"PONG"


def test_keys_of_a_model_share_one_hash_tag() -> None:
    keys = ModelKeys("ctr", "shop-1")
    assert (keys.log, keys.head) == ("{ctr:shop-1}:log", "{ctr:shop-1}:head")
    assert keys.page("3-ab", 17) == "{ctr:shop-1}:page:3-ab:17"
    assert keys.state("3-ab", 0) == "{ctr:shop-1}:state:3-ab:0"
    assert keys.manifest("3-ab") == "{ctr:shop-1}:manifest:3-ab"
    assert keys.models == models_key("ctr") == "ctr:models"


@pytest.mark.parametrize("name", ["", "a}b", "{a", "a b", "a:b", "-a", "x" * 129, "a\n", "ä"])
def test_names_that_could_break_the_tag_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="model name"):
        ModelKeys("ctr", name)
    with pytest.raises(ValueError, match="key prefix"):
        models_key(name)
