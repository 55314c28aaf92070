"""Files as chunks of whole lines, for readers that take many lines at once.

    file ──► read, decompress (a thread) ──► chunks ──► parse (threads) ──► batches, in order

A chunk is about two mebibytes, so that what is made of it stays in a processor's cache, and ends
where a line ends. Decompression and the parsing kernels release the interpreter's lock: with two
cores, one parses while the other folds. Queues are short: a log larger than memory is no matter.

The reading thread is a daemon, because a read from a terminal or a pipe may never return; the
parsing threads end by themselves.
"""

from __future__ import annotations

import gzip
import io
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, Queue
from typing import TypeVar

CHUNK_BYTES = 2 << 20
LINE_BYTES_MAX = 32 << 20  # the default limit of a request's body: no longer line can be learned
GZIP_MAGIC = b"\x1f\x8b"
_AHEAD = 4  # chunks read before they are asked for

T = TypeVar("T")
Made = TypeVar("Made")


@dataclass(frozen=True)
class _End:
    error: Exception | None


def read_chunks(raw: io.BufferedReader) -> Iterator[bytearray]:
    """The file in chunks of whole lines, decompressed if it is compressed.

    Only the last line may lack its end.

    Raises EOFError, zlib.error or OSError, which a line longer than LINE_BYTES_MAX is too.
    """
    if raw.peek(len(GZIP_MAGIC))[: len(GZIP_MAGIC)] == GZIP_MAGIC:
        with gzip.open(raw, "rb") as unpacked:
            yield from _cut(lambda: unpacked.read(CHUNK_BYTES))
    else:
        yield from _cut(lambda: raw.read1(CHUNK_BYTES))


def _cut(read: Callable[[], bytes]) -> Iterator[bytearray]:
    rest = bytearray()
    while piece := read():
        first_end = piece.find(b"\n")
        if len(rest) + (len(piece) if first_end < 0 else first_end + 1) > LINE_BYTES_MAX:
            raise OSError(f"a line is longer than {LINE_BYTES_MAX} bytes")
        if first_end < 0:
            rest += piece
            continue
        end = piece.rfind(b"\n") + 1
        text = rest + piece[:end]
        rest = bytearray(piece[end:])
        yield text
    if rest:
        yield rest


def in_background(items: Iterator[T]) -> Iterator[T]:
    """The same items, a few of them made ahead in a thread; raises what making them raises."""
    queue: Queue[T | _End] = Queue(_AHEAD)
    stopped = threading.Event()

    def fill() -> None:
        error = None
        try:
            for item in items:
                queue.put(item)
                if stopped.is_set():
                    return
        except Exception as raised:  # noqa: BLE001  it is raised in the other thread
            error = raised
        queue.put(_End(error))

    threading.Thread(target=fill, daemon=True, name="reading").start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        with suppress(Empty):  # room for an item that the thread may hold
            queue.get_nowait()


def in_order(
    make: Callable[[T], Made], items: Iterable[T], pool: Executor, ahead: int
) -> Iterator[Made]:
    """make(item) of every item, in order, `ahead` of them under way in the pool."""
    pending: deque[Future[Made]] = deque()
    for item in items:
        pending.append(pool.submit(make, item))
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
