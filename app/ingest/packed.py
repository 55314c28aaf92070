"""`application/x-clickfold-batch`: an entry of the log as a body, for clients that hash themselves.

The bytes are those of ftrl_core/entry.py, kind examples: a client hashes with the model's hash seed
and puts each row in canonical order. Of the request table the number of rows counts, and nothing
else: keys, idempotency and who sent it are what the request says, not its body. Names cannot be
known from hashes, so such a client's fields are shown by number until another names them.

Nothing is believed: checksum, bounds, order and ranges are checked as for an entry that is read
from the log, and the limits of a request as for any other body.
"""

from __future__ import annotations

import numpy as np

from ftrl_core.batch import NO_LABEL, ExampleBatch
from ftrl_core.entry import ExamplesEntry, decode
from ftrl_core.errors import BadBody, BadEntry, BadExample, TooLarge
from ftrl_core.features import TINY
from ftrl_core.limits import Limits

_DEFAULT_LIMITS = Limits()


def decode_packed(
    body: bytes,
    limits: Limits = _DEFAULT_LIMITS,
    hash_seed: int = 0,  # noqa: ARG001  every decoder has it; here the client has hashed
    require_labels: bool = True,
) -> ExampleBatch:
    """The batch of a packed body. Raises BadBody, BadExample or TooLarge."""
    if len(body) > limits.decompressed_bytes:
        raise TooLarge(f"a body has at most {limits.decompressed_bytes} bytes")
    try:
        entry = decode(body)
    except BadEntry as error:
        raise BadBody(f"not a packed batch: {error}") from None
    if not isinstance(entry, ExamplesEntry):
        raise BadBody("not a packed batch: the entry has no examples")
    batch = entry.batch
    _settle(batch, limits)
    if not require_labels:
        batch.labels = np.full(batch.rows, NO_LABEL, np.uint8)
    return batch


def _settle(batch: ExampleBatch, limits: Limits) -> None:
    """The limits of a request, and what an entry may hold but a client may not send.

    What is closer to zero than TINY becomes zero.
    """
    if batch.rows == 0:
        raise BadExample("there are no examples", None, "")
    if batch.rows > limits.examples:
        raise TooLarge(f"a request has at most {limits.examples} examples")
    if batch.nnz > limits.request_features:
        raise TooLarge(f"a request has at most {limits.request_features} features")
    lengths = np.diff(batch.row_offsets)
    if (row := _first(lengths > limits.features)) is not None:
        raise TooLarge(f"an example has at most {limits.features} features", row, "/features")
    if not _all_ones(batch.weights):
        if (row := _first(~(batch.weights <= limits.weight))) is not None:
            raise BadExample(f"weight must be a number from 0 to {limits.weight:g}", row, "/weight")
        batch.weights = _without_tiny(batch.weights)
    if not _all_ones(batch.values):
        _check_values(batch, limits)
        batch.values = _without_tiny(batch.values)


def _check_values(batch: ExampleBatch, limits: Limits) -> None:
    if (place := _first(~(np.abs(batch.values) <= limits.abs_value))) is not None:
        row = int(np.searchsorted(batch.row_offsets, place, side="right")) - 1
        detail = f"a number must be finite and at most {limits.abs_value:g} in magnitude"
        raise BadExample(detail, row, "/features")


def _all_ones(numbers: np.ndarray[tuple[int], np.dtype[np.float32]]) -> bool:
    """Whether there is nothing to check: most bodies have categories of weight 1 alone."""
    return bool((numbers == 1).all())


def _first(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int | None:
    """Where the mask is first true."""
    places = np.flatnonzero(mask)
    return int(places[0]) if places.size else None


def _without_tiny(
    numbers: np.ndarray[tuple[int], np.dtype[np.float32]],
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """The numbers, what is below TINY made zero: as for every other body."""
    return np.where(np.abs(numbers) < TINY, np.float32(0), numbers)
