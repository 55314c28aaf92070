"""Every setting of the service: name, default, unit, meaning; read once, checked once.

Order: command line flags > environment `CLICKFOLD_<NAME>` > `.env` in the working directory >
the defaults below. `load_settings` is the way in: it takes the flags that were given and turns
every refusal into one BadConfig, a line a setting, naming where it may be set, the value and what
was expected. Values of secret settings are never shown.

The service listens on the loopback only, until it has keys: an open port that anybody may teach is
not a default. Behind a proxy the rule is the same, because the proxy cannot be seen from here.

Limits of a request are settings too (`CLICKFOLD_LIMIT_BODY_BYTES` and so on), each with the default
of `ftrl_core.limits.Limits`; `Settings.limits()` hands them to the core as one value.
"""

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.connection_guard import ConnectionLimits
from ftrl_core.errors import BadConfig
from ftrl_core.limits import Limits

ENV_PREFIX = "CLICKFOLD_"
SECRET_FIELDS = frozenset({"keys", "redis_url"})
# Names with our prefix that belong to the client commands and to the tests, not to the service.
OTHER_NAMES = frozenset({"CLICKFOLD_URL", "CLICKFOLD_KEY", "CLICKFOLD_MODEL"})
BYTE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "ki": 1 << 10,
    "mi": 1 << 20,
    "gi": 1 << 30,
    "ti": 1 << 40,
}
BYTES_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", re.IGNORECASE)
DEFAULT_LIMITS = Limits()
CONNECTIONS = ConnectionLimits()
CONNECTION_NAMES = ConnectionLimits.__slots__


def parse_bytes(value: object) -> object:
    """`"8GiB"`, `"512 MB"`, `"1g"` or `"1000"` as bytes; what is no text, unchanged."""
    if not isinstance(value, str):
        return value
    match = BYTES_TEXT.fullmatch(value)
    if match is None or match[2].lower() not in BYTE_UNITS:
        raise ValueError("a size in bytes, such as 8GiB, 512MB or 1000000")
    return int(float(match[1]) * BYTE_UNITS[match[2].lower()])


ByteCount = Annotated[PositiveInt, BeforeValidator(parse_bytes)]
EXPECTED = {
    "bool_parsing": "true or false",
    "float_parsing": "a number",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "path_type": "a path",
    "string_pattern_mismatch": "1 to 64 letters, digits, dots, dashes or underscores",
}


class Settings(BaseSettings):
    """All settings of one service process; made by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
    )

    # Where it listens
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    workers: int = Field(1, ge=1, le=256, description="server processes, each a whole replica")
    tls_cert: Path | None = Field(None, description="certificate chain, PEM")
    tls_key: Path | None = Field(None, description="private key of the certificate, PEM")

    # Who may do what
    keys: SecretStr | None = Field(None, description="keys and their scopes")
    keys_file: Path | None = Field(None, description="file with keys and their scopes")

    # Redis, or the embedded server
    redis_url: str | None = Field(
        None, repr=False, description="redis://, rediss:// or unix://; embedded server if absent"
    )
    redis_binary: str | None = Field(
        None, description="server binary of the embedded server: a path, or `bundled`"
    )
    key_prefix: str = Field(
        "ctr", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="first part of every key in Redis"
    )
    durability: Literal["fsync", "everysec", "provider"] = Field(
        "fsync", description="what an acknowledgement promises"
    )
    waitaof: bool = Field(False, description="fsync by WAITAOF, on a server that syncs later")

    # Files
    data_dir: Path = Field(Path("clickfold-data"), description="data of the embedded server")
    snapshot_dir: Path | None = Field(None, description="snapshots; data_dir/snapshots if absent")

    # Models
    models: str = Field("*", min_length=1, description="models served here, comma-separated, or *")
    config: str | None = Field(None, description="`default` when it is made: JSON, or a file of it")
    memory_limit: ByteCount = Field(8 << 30, description="memory of all models together, bytes")

    # Log and checkpoints
    log_bytes_max: ByteCount = Field(1 << 30, description="log a model may keep, bytes")
    checkpoint_log_bytes: ByteCount = Field(64 << 20, description="log between checkpoints, bytes")
    checkpoint_idle_seconds: PositiveFloat = Field(
        2.0, description="quiet time before a checkpoint"
    )
    compare_seconds: PositiveFloat = Field(
        30.0, description="how often replicas compare their states; the same for all"
    )
    trim: bool = Field(True, description="trim the log below the older checkpoint kept")

    # Limits of one request
    limit_body_bytes: ByteCount = DEFAULT_LIMITS.body_bytes
    limit_decompressed_bytes: ByteCount = DEFAULT_LIMITS.decompressed_bytes
    limit_examples: PositiveInt = DEFAULT_LIMITS.examples
    limit_features: PositiveInt = DEFAULT_LIMITS.features
    limit_request_features: PositiveInt = DEFAULT_LIMITS.request_features
    limit_name_bytes: ByteCount = DEFAULT_LIMITS.name_bytes
    limit_value_bytes: ByteCount = DEFAULT_LIMITS.value_bytes
    limit_abs_value: PositiveFloat = DEFAULT_LIMITS.abs_value
    limit_weight: PositiveFloat = DEFAULT_LIMITS.weight
    limit_id_chars: PositiveInt = DEFAULT_LIMITS.id_chars

    # Limits of a process: connections, requests at once, deadlines; docs/limits.md has all
    limit_connections: PositiveInt = CONNECTIONS.connections
    limit_connections_per_address: NonNegativeInt = CONNECTIONS.connections_per_address
    limit_head_bytes: ByteCount = CONNECTIONS.head_bytes
    limit_head_fields: PositiveInt = CONNECTIONS.head_fields
    limit_requests: PositiveInt = Field(1024, description="requests answered at once")
    head_seconds: PositiveFloat = CONNECTIONS.head_seconds
    body_seconds: PositiveFloat = CONNECTIONS.body_seconds
    reply_seconds: PositiveFloat = CONNECTIONS.reply_seconds
    idle_seconds: PositiveFloat = CONNECTIONS.idle_seconds
    stop_seconds: PositiveFloat = Field(10.0, description="for requests, when the service stops")

    # Limits of a key that learns, unless its line in the keys says otherwise
    limit_key_rate: NonNegativeFloat = Field(0.0, description="examples a second; 0: any")
    limit_key_share: float = Field(1.0, gt=0, le=1, description="share of the latest examples")

    log_format: Literal["text", "json"] = Field("text", description="lines on standard error")

    @field_validator("redis_url")
    @classmethod
    def _known_scheme(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a URL that begins with redis://, rediss:// or unix://")
        return value

    @field_validator("keys_file", "tls_cert", "tls_key")
    @classmethod
    def _readable_file(cls, value: Path | None) -> Path | None:
        if value is not None and not (value.is_file() and os.access(value, os.R_OK)):
            raise ValueError("a file that exists and can be read")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.is_loopback() and not self.has_keys():
            raise ValueError(
                f"host {self.host!r} is reachable from elsewhere, and there are no keys: set"
                " CLICKFOLD_KEYS or CLICKFOLD_KEYS_FILE (--keys-file), or listen on 127.0.0.1"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together: give both or neither")
        if self.durability == "provider" and self.redis_url is None:
            raise ValueError("durability 'provider' needs redis_url: the provider's server")
        if self.waitaof and (self.durability != "fsync" or self.redis_url is None):
            raise ValueError("waitaof is for durability 'fsync' on your own server (redis_url)")
        return self

    def has_keys(self) -> bool:
        """Whether requests need a key."""
        return self.keys is not None or self.keys_file is not None

    def is_loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def snapshots_path(self) -> Path:
        """The snapshot directory, `data_dir/snapshots` by default."""
        return self.snapshot_dir if self.snapshot_dir is not None else self.data_dir / "snapshots"

    def redis_url_shown(self) -> str:
        """`redis_url` for messages, its password replaced by ***."""
        return masked_url(self.redis_url) if self.redis_url is not None else "embedded"

    def limits(self) -> Limits:
        """The limits of one request, as the core wants them."""
        return Limits(**{name: getattr(self, f"limit_{name}") for name in Limits.__slots__})

    def connection_limits(self) -> ConnectionLimits:
        """The limits of connections."""
        names = ((n, n if n.endswith("_seconds") else f"limit_{n}") for n in CONNECTION_NAMES)
        return ConnectionLimits(**{name: getattr(self, setting) for name, setting in names})


def masked_url(url: str) -> str:
    """The URL with its password, if it has one, replaced by ***."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return url
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def load_settings(**flags: Any) -> Settings:
    """The settings from flags (None is "not given"), environment, .env and defaults.

    Raises BadConfig, one line a refused setting.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    unknown = given.keys() - Settings.model_fields.keys()
    if unknown:
        raise BadConfig(f"no such setting: {', '.join(sorted(unknown))}")
    try:
        return Settings(**given)
    except ValidationError as error:
        lines = [_described(dict(one), given) for one in error.errors(include_url=False)]
        raise BadConfig("\n".join(lines)) from None


def unknown_names(environment: Mapping[str, str]) -> list[str]:
    """Names in `environment` that begin like a setting and are none: typing errors, mostly."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields} | OTHER_NAMES
    ours = (name for name in environment if name.startswith(ENV_PREFIX))
    return sorted(name for name in ours if name not in known and "_TEST_" not in name)


def _described(error: dict[str, Any], flags: Mapping[str, object]) -> str:
    """One refused setting as a line: where it was set, its value, what was expected."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    source = f"--{name.replace('_', '-')}" if name in flags else f"{ENV_PREFIX}{name.upper()}"
    shown = "(not shown)" if name in SECRET_FIELDS else repr(error["input"])
    expected = EXPECTED.get(error["type"], message)
    expected = expected.removeprefix("Input should be ").removeprefix("a valid ")
    return f"{source} = {shown}: expected {expected} ({name})"
