"""`scripts/inspect FEATURE`: z, n and weight of a feature, read from Redis and nowhere else.

    meta ─► newest manifest ─► generation of the feature's page ─► page ─► the slot's (z, n)

No service is asked, so this shows what a replica would load: the state at the manifest's position,
not what was learned since. The page's checksum is compared with the manifest's. n is shown as it
is stored, the growth over `initial_accumulator_value`, and z times the learning rate.

A checkpoint committed meanwhile may take the page away between two reads; then the newest manifest
is read again. Redis is --redis-url, or the embedded server whose socket the data directory's lock
file names; it answers only while a service runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, cast

import numpy as np
import redis
import typer

from app.cli import options
from app.cli.failures import CommandFailed, FailureCommand, bad_usage
from app.data_directory import Holder
from app.redis_keys import ModelKeys
from app.run_directory import SOCKET_NAME
from app.settings import load_settings, masked_url
from ftrl_core.checkpoint import Manifest, page_checksum
from ftrl_core.coordinate import weight_of
from ftrl_core.errors import BadCheckpoint, BadConfig
from ftrl_core.hashing import feature_hash, name_hash
from ftrl_core.position import Position
from ftrl_core.table import WeightTable

_NO_MANIFEST = (None, b"-")
_TRIES = 5  # each lost one means that another checkpoint was committed in between


class Reader(Protocol):
    """The two commands that are needed of a Redis client."""

    def get(self, name: str) -> Any:
        """The value of a string key, None when there is none."""

    def hget(self, name: str, key: str) -> Any:
        """A field of a hash, None when there is none."""


class Coordinate(NamedTuple):
    """A feature's record in a checkpoint; `stored` is False for a page that was never touched.

    z, n and weight are lists, an item for each lane, where the model is a mixture.
    """

    position: Position
    slot: int
    page: int
    stored: bool
    z: float | list[float]
    n: float | list[float]
    weight: float | list[float]


def inspect(client: Reader, keys: ModelKeys, name: str, value: str | None) -> Coordinate:
    """The record of a feature at the newest checkpoint.

    value is None for a number or true. Raises CommandFailed and redis.RedisError.
    """
    for _ in range(_TRIES):
        generation = client.hget(keys.meta, "manifest")
        if generation in _NO_MANIFEST:
            raise CommandFailed(f"model {keys.model} has no checkpoint under {keys.tag}")
        content = client.get(keys.manifest(generation.decode()))
        found = None if content is None else _in_manifest(client, keys, content, name, value)
        if found is not None:
            return found
    raise CommandFailed("checkpoints replace each other faster than they can be read")


def _in_manifest(
    client: Reader, keys: ModelKeys, content: bytes, name: str, value: str | None
) -> Coordinate | None:
    """The record, None when its page has been dropped."""
    try:
        manifest = Manifest.decode(content)
    except BadCheckpoint as error:
        raise CommandFailed(str(error)) from error
    config = manifest.config
    hashed = name_hash(name, config.hash_seed)
    if value is not None:
        hashed = feature_hash(value, hashed)
    slot = hashed & ((1 << config.table_bits) - 1)
    layout = WeightTable(min(config.table_bits, 12), config.lanes)  # small, for its page size
    index, place = slot // layout.page_slots, slot % layout.page_slots
    of_page = int(manifest.page_generation[index])
    z = n = [0.0] * config.lanes
    if of_page >= 0:
        page = client.get(keys.page(manifest.generations[of_page], index))
        if page is None:
            return None
        if page_checksum(page) != int(manifest.page_checksums[index]):
            raise CommandFailed(f"page {index} has another checksum than the manifest")
        record = np.frombuffer(page, "<f4").reshape(layout.page_slots, 2, config.lanes)[place]
        z, n = record.tolist()
    w = [weight_of(config, *zn, lane) for lane, zn in enumerate(zip(z, n, strict=True))]
    if config.lanes > 1:
        return Coordinate(manifest.position, slot, index, of_page >= 0, z, n, w)
    return Coordinate(manifest.position, slot, index, of_page >= 0, z[0], n[0], w[0])


def embedded_url(data_dir: Path) -> str:
    """Address of the embedded server that serves a data directory; raises CommandFailed."""
    try:
        holder = Holder(**json.loads((data_dir / ".lock").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CommandFailed(
            f"no service holds {data_dir}; name its --data-dir, or a --redis-url"
        ) from error
    return f"unix://{Path(holder.run_dir) / SOCKET_NAME}"


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(cls=FailureCommand)
def show(
    feature: Annotated[str, typer.Argument(help="NAME=VALUE, or NAME of a number or flag.")],
    model: options.ModelName = options.DEFAULT_MODEL,
    redis_url: Annotated[str | None, typer.Option(help="Redis, as for serve.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data directory, as for serve.")] = None,
    key_prefix: Annotated[str | None, typer.Option(help="Prefix of keys, as for serve.")] = None,
    as_json: options.Json = False,
) -> None:
    """Print z, n and weight of a feature at the newest checkpoint, from Redis alone."""
    try:
        settings = load_settings(redis_url=redis_url, data_dir=data_dir, key_prefix=key_prefix)
        keys = ModelKeys(settings.key_prefix, model)
    except (BadConfig, ValueError) as error:
        raise bad_usage(str(error)) from error
    name, equals, value = feature.partition("=")
    url = settings.redis_url or embedded_url(settings.data_dir)
    try:
        with redis.Redis.from_url(url, socket_timeout=5.0, socket_connect_timeout=5.0) as client:
            found = inspect(cast(Reader, client), keys, name, value if equals else None)
    except (redis.RedisError, OSError) as error:
        raise CommandFailed(f"no answer from {masked_url(url)}: {error}") from error
    facts = {"feature": feature, "model": model, **found._asdict(), "position": str(found.position)}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for label, fact in facts.items():
        typer.echo(f"{label:<10} {fact!r}" if isinstance(fact, float) else f"{label:<10} {fact}")


if __name__ == "__main__":
    app()
