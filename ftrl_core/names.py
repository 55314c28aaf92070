"""The field names of a model: told once in the log, remembered by hash.

Batches carry hashes of names only. So that fields can be shown, crossed or ignored later from the
log alone, each name itself is written once, in a `names` entry. At most NAMES_MAX are kept, of
NAMES_BYTES_MAX together; beyond that new ones are not told any more (a client that invents names
must not fill the memory, nor a snapshot's segment).

Whether a batch has an unheard name is asked for every request, so it is a kernel over an
open-addressing table of the known hashes (0 marks a free place; a name whose hash is 0 is never
known, and never asked for).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ftrl_core.batch import U32
from ftrl_core.hashing import name_hash
from ftrl_core.jit import kernel
from ftrl_core.placement import Secret, current_secret, home_of_32

NAMES_MAX = 65_536
NAMES_BYTES_MAX = 4 << 20
_CAPACITY = 2 * NAMES_MAX


@kernel
def _place(hashed: np.uint32, table: U32, secret: Secret) -> int:
    """Where the hash is, or the free place where it would be."""
    place = int(home_of_32(hashed, table.size, secret))
    while table[place] and table[place] != hashed:
        place = (place + 1) & (table.size - 1)
    return place


@kernel
def _has_unknown(name_hashes: U32, table: U32, secret: Secret) -> bool:
    for hashed in name_hashes:
        if hashed and not table[_place(hashed, table, secret)]:
            return True
    return False


class FieldNames:
    """Names by their hash, in the order in which they were told."""

    def __init__(self, hash_seed: int) -> None:
        self._hash_seed = hash_seed
        self._secret = current_secret()
        self._names: dict[int, str] = {}
        self._bytes = 0
        self._table: U32 = np.zeros(_CAPACITY, np.uint32)

    def add(self, names: Iterable[str]) -> None:
        """Remember names, as far as there is room."""
        for name in names:
            hashed = name_hash(name, self._hash_seed)
            if hashed not in self._names and not self.is_full:
                self._names[hashed] = name
                self._bytes += len(name.encode())
                self._table[_place(np.uint32(hashed), self._table, self._secret)] = hashed

    @property
    def is_full(self) -> bool:
        """Whether no further name is kept."""
        return len(self._names) >= NAMES_MAX or self._bytes >= NAMES_BYTES_MAX

    def unheard(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are not known: sorted, each once, as far as there is room."""
        new = {name for name in names if name_hash(name, self._hash_seed) not in self._names}
        return sorted(new)[: NAMES_MAX - len(self._names)]

    def has_unheard(self, name_hashes: U32) -> bool:
        """Whether one of the hashes (uint32[nnz]) belongs to a name that is still to be told."""
        return not self.is_full and bool(_has_unknown(name_hashes, self._table, self._secret))

    def in_order(self) -> list[str]:
        """All names, in the order in which they were told."""
        return list(self._names.values())

    def get(self, hashed: int) -> str | None:
        """The name of a hash."""
        return self._names.get(hashed)
