"""Columns of an Arrow stream that are texts throughout, hashed where they stand in the body.

    body   ..schema.. | ends of site | texts of site | ends of ad | texts of ad | ..
                        ^ column 0     ^               ^ column 1   ^

What pyarrow hands out for an uncompressed stream are places in the body itself, so one kernel can
walk all columns of a request: column by column in Python, a request of a hundred rows takes
several times as long. Anything else (nulls, numbers, dictionaries, several batches, a body that
pyarrow has copied) is read by `arrow`, to the same batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ftrl_core.batch import frozen
from ftrl_core.columns import hash_text_columns

_OFFSET_BYTES = 4


def text_hashes(
    body: bytes, columns: list[Any], text_type: Any, name_hashes: list[int], bytes_max: int
) -> npt.NDArray[np.uint32] | None:
    """Feature hashes of checked columns of a table read from `body`, uint32[rows * columns].

    Row by row. None unless every column is one chunk of texts without nulls in the body, none
    longer than bytes_max.
    """
    base = frozen(np.frombuffer(body, np.uint8))
    start = base.ctypes.data
    ends_at, texts_at = [], []
    for column in columns:
        if column.num_chunks != 1 or column.type != text_type or column.null_count:
            return None
        chunk = column.chunk(0)
        _, ends, texts = chunk.buffers()
        if ends is None or texts is None:
            return None
        ends_at.append(ends.address - start + _OFFSET_BYTES * chunk.offset)
        texts_at.append(texts.address - start)
        if not (_is_inside(ends_at[-1], _OFFSET_BYTES * (len(chunk) + 1), body)
                and _is_inside(texts_at[-1], texts.size, body)):  # fmt: skip
            return None
    rows = len(columns[0]) if columns else 0
    hashes, is_plain = hash_text_columns(
        base, np.array(ends_at, np.int64), np.array(texts_at, np.int64),
        np.array(name_hashes, np.uint32), rows, bytes_max,
    )  # fmt: skip
    return hashes if is_plain else None


def _is_inside(at: int, size: int, body: bytes) -> bool:
    return at >= 0 and at + size <= len(body)
