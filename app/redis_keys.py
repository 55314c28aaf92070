"""Every key name in Redis, with its type and its owner.

All keys of one model share the hash tag `{<prefix>:<model>}`, so that a model is one slot of a
Redis Cluster and every script may touch all of them. `<prefix>:models` alone has no tag: it lists
the models, so it cannot live in the slot of one; model_index.py says how the two are kept in step.

    key                               type    owner              what
    <prefix>:models                   hash    model_index        name -> row, see there
    {<prefix>:<m>}:log                stream  event_log          entries under dense explicit ids
    {<prefix>:<m>}:meta               hash    event_log (create, append), checkpoint_store
    {<prefix>:<m>}:producers          hash    event_log          producer -> its last batch
    {<prefix>:<m>}:generations        hash    checkpoint_store   generation -> registration
    {<prefix>:<m>}:page:<g>:<i>       string  checkpoint_store   one page, immutable
    {<prefix>:<m>}:state:<g>:<k>      string  checkpoint_store   one state segment, immutable
    {<prefix>:<m>}:manifest:<g>       string  checkpoint_store   one manifest, immutable
    {<prefix>:<m>}:head               channel event_log          published heads

Fields of meta (all text):

    incarnation       16 hex digits; also the nonce before the first entry
    state             live | deleted
    configuration     as given by the last create, configure or restore
    epoch seq nonce   of the head
    time              append time of the head, milliseconds
    bytes_total       log bytes ever appended, up to the head
    trimmed_seq       entries up to here have been trimmed
    bytes_trimmed     log bytes up to trimmed_seq; bytes_total - bytes_trimmed = log bytes now
    evicted_seq       last seq of the newest producer ever evicted
    next_generation   counter of the next generation
    open              registered generations neither committed, pinned nor dead, space-separated
    commits           number of commits so far
    manifest          generation of the newest manifest, `-` when there is none, with
    manifest_epoch manifest_seq manifest_nonce manifest_bytes   of its position, and the same
    previous...       of the one before
    agreement         newest position that replicas compared, with its state digest (digest.lua)
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def models_key(prefix: str) -> str:
    """The hash that lists the models; ValueError for a prefix that is not a plain name."""
    _check("key prefix", prefix)
    return f"{prefix}:models"


@dataclass(frozen=True, slots=True)
class ModelKeys:
    """The keys of one model; ValueError for a name that could break the hash tag."""

    prefix: str
    model: str

    def __post_init__(self) -> None:
        _check("key prefix", self.prefix)
        _check("model name", self.model)

    @property
    def tag(self) -> str:
        """`{<prefix>:<model>}`: what every key of the model begins with."""
        return f"{{{self.prefix}:{self.model}}}"

    @property
    def models(self) -> str:
        """Hash, shared by all models of the prefix."""
        return models_key(self.prefix)

    @property
    def log(self) -> str:
        """Stream."""
        return f"{self.tag}:log"

    @property
    def meta(self) -> str:
        """Hash."""
        return f"{self.tag}:meta"

    @property
    def producers(self) -> str:
        """Hash."""
        return f"{self.tag}:producers"

    @property
    def generations(self) -> str:
        """Hash."""
        return f"{self.tag}:generations"

    @property
    def head(self) -> str:
        """Channel: each append publishes `<epoch>-<seq> <nonce>` of the new head."""
        return f"{self.tag}:head"

    def page(self, generation: str, index: int) -> str:
        """String: page `index` as generation `generation` wrote it."""
        return f"{self.tag}:page:{generation}:{index}"

    def state(self, generation: str, index: int) -> str:
        """String: state segment `index` as generation `generation` wrote it."""
        return f"{self.tag}:state:{generation}:{index}"

    def manifest(self, generation: str) -> str:
        """String: the manifest that `generation` committed, or what a restore put there."""
        return f"{self.tag}:manifest:{generation}"


def _check(what: str, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{what} must be letters, digits, '.', '_' and '-'")
