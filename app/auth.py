"""Keys: who may do what, told by the request's Authorization header alone.

Keys come from CLICKFOLD_KEYS (lines, or separated by `;`) and from a file of lines
(app/key_lines.py has how they are written).

Only digests are kept. A presented key is hashed and compared with all of them, each by
`hmac.compare_digest` on bytes and without stopping at the first that fits, so time tells nothing.
Scopes add up only within one line: the first line that fits counts.

The file is looked at every second (`KeyFile`): a line that is added or taken away counts from then
on, without a restart. A file that cannot be read, has an error or no key changes nothing: the keys
known before stay, and the log says why. The admission of a head is remembered by connections
(app/direct_protocol.py), so a change makes all of them forget.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from app.key_lines import ANYONE, Key, lines_of, read_lines
from app.problems import Problem
from ftrl_core.errors import BadConfig

logger = logging.getLogger("clickfold.keys")

LOOK_SECONDS = 1.0
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="clickfold"')]
_INVALID = [(b"www-authenticate", b'Bearer realm="clickfold", error="invalid_token"')]


class KeyRing:
    """All keys of the process; an empty ring lets anyone in (on the loopback, see the gate)."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)

    @property
    def is_empty(self) -> bool:
        """Whether no key is asked for."""
        return not self._keys

    @property
    def names(self) -> dict[int, str]:
        """The names of keys by the numbers that stand for them in the log."""
        return {key.number: key.name for key in self._keys}

    def take(self, other: KeyRing) -> None:
        """Have the keys of another ring from now on."""
        self._keys = other._keys

    def holder(self, authorization: list[bytes]) -> Key:
        """The key that the Authorization headers present; Problem 401 when there is none."""
        if not self._keys:
            return ANYONE
        if not authorization:
            raise Problem("no-key", "this needs a key", headers=_CHALLENGE)
        scheme, _, presented = authorization[0].partition(b" ")
        if len(authorization) > 1 or scheme.lower() != b"bearer":
            raise Problem("no-key", "one bearer key is needed", headers=_CHALLENGE)
        digest = hashlib.sha256(presented.strip(b" ")).digest()
        found: Key | None = None
        for key in reversed(self._keys):
            if hmac.compare_digest(digest, key.digest):
                found = key
        if found is None:
            raise Problem("no-key", "the key is not known", headers=_INVALID)
        return found


def load_keys(text: str | None, path: Path | None) -> KeyRing:
    """The ring of CLICKFOLD_KEYS and of the keys file together.

    Raises BadConfig that names the line and never shows a key; OSError.
    """
    ring = KeyRing(read_lines(lines_of(text, path)))
    if ring.is_empty and (text is not None or path is not None):
        raise BadConfig("keys are asked for, and none is given: see CLICKFOLD_KEYS and keys_file")
    return ring


class KeyFile:
    """The ring of a process, kept in step with the keys file."""

    def __init__(self, text: str | None, path: Path | None) -> None:
        """Read the keys. Raises BadConfig, OSError."""
        self._text, self._path = text, path
        self._seen = self._look()
        self.ring = load_keys(text, path)
        self.changed: Callable[[], None] = lambda: None

    def look(self) -> None:
        """Read the file again if it is another than before."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.ring.take(load_keys(self._text, self._path))
        except (BadConfig, OSError) as error:
            logger.error("the keys stay as they were: %s", error)
            return
        self.changed()
        logger.warning("the keys were read again: %d names", len(self.ring.names))

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def _look(self) -> tuple[int, ...]:
        if self._path is None:
            return ()
        try:
            seen = self._path.stat()
        except OSError:
            return (-1,)
        return (seen.st_mtime_ns, seen.st_size, seen.st_ino)
