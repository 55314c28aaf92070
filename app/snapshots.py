"""The snapshot directory: one file a snapshot, safe against names and against crashes.

    <directory>/.store-id               16 hex digits, drawn once; which directory this is
    <directory>/<model>/<name>.cfs      a whole snapshot (format: ftrl_core/snapshot_file.py)
    <directory>/<model>/.<random>.part  one being written; removed when it fails, or when it is old

A file is written under a temporary name, synced, verified when it came from outside, and only then
given its name, exclusively; then the folder is synced. So a name that can be listed is a snapshot
that was complete once, and nobody overwrites one by accident.

Names come from the network. They must fit one pattern, and every open is relative to the descriptor
of the directory, one step at a time, with O_NOFOLLOW: neither a name nor a link planted in a shared
directory leads outside. Directories are 0700 and files 0600: weights and counts are business data.
All methods block on the disk: they are for a thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from app.errors import Conflict
from app.failpoints import failpoint
from app.names import is_name
from app.problems import Problem
from ftrl_core.config import ModelConfig
from ftrl_core.errors import BadSnapshot
from ftrl_core.model import Model
from ftrl_core.snapshot_file import Header, read_header, read_snapshot

SUFFIX = ".cfs"
PART_SUFFIX = ".part"
STORE_ID = ".store-id"
ABANDONED_SECONDS = 24 * 3600
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a planted pipe would block
RequireRoom = Callable[[ModelConfig], None]
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a snapshot: its header, its name here, and its size in bytes."""

    model: str
    name: str
    file_bytes: int
    header: Header

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the name is the file's, whatever the header was called elsewhere."""
        described = {**self.header.to_dict(), "name": self.name}
        return {"model": self.model, **described, "file_bytes": self.file_bytes}


class SnapshotDirectory:
    """Snapshots of all models; safe to share between threads and processes."""

    def __init__(self, path: Path, require_room: RequireRoom = lambda _: None) -> None:
        """Open the directory, made if absent. OSError when it cannot be.

        require_room raises Conflict for a configuration whose model would not fit into memory: a
        header of some hundred bytes may ask for any.
        """
        self._require_room = require_room
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = path
        # The directory itself may be a link that the operator made; nothing below it may be one.
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.store_id = self._read_store_id()

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self._fd)

    def take(self, model: str, name: str, pieces: Iterable[bytes]) -> Description:
        """Write a snapshot from its bytes. Conflict when the name is taken."""
        with self.begin(model, name) as upload:
            failpoint("snapshot.begun")
            for piece in pieces:
                upload.write(piece)
            return upload.publish()

    def begin(self, model: str, name: str) -> Upload:
        """A new snapshot to be written piece by piece. Conflict when the name is taken."""
        _check(model, name)
        with contextlib.suppress(FileExistsError):
            os.mkdir(model, 0o700, dir_fd=self._fd)
        folder = os.open(model, _FOLDER, dir_fd=self._fd)
        try:
            if _exists(folder, name + SUFFIX):
                raise _taken()
            _remove_abandoned(folder)
            return Upload(folder, model, name, self._require_room)
        except BaseException:
            os.close(folder)
            raise

    def list_of(self, model: str) -> list[Description]:
        """All snapshots of a model, newest first; a file that is damaged is left out."""
        found = []
        for name in self._names(model):
            with contextlib.suppress(BadSnapshot, Problem):
                found.append(self.describe(model, name))
        return sorted(found, key=lambda one: (-one.header.created_ms, one.name))

    def describe(self, model: str, name: str) -> Description:
        """One snapshot by its header. Problem 404; BadSnapshot when the header is damaged."""
        with self.open(model, name) as file:
            size = os.fstat(file.fileno()).st_size
            return Description(model, name, size, read_header(file))

    def load(self, model: str, name: str) -> tuple[Header, Model]:
        """The snapshot's header and model, every byte verified. Problem 404, BadSnapshot, Conflict
        where the model would not fit into memory."""
        with self.open(model, name) as file:
            return _read(file, self._require_room)

    def open(self, model: str, name: str) -> BinaryIO:
        """The file, for reading. Problem 404 when there is none."""
        _check(model, name)
        try:
            with _opened(model, _FOLDER, self._fd) as folder:
                return _open_regular(name + SUFFIX, folder)
        except OSError as error:
            raise _missing(error) from None

    def delete(self, model: str, name: str) -> None:
        """Remove a snapshot. Problem 404 when there is none."""
        _check(model, name)
        try:
            with _opened(model, _FOLDER, self._fd) as folder:
                os.unlink(name + SUFFIX, dir_fd=folder)
                os.fsync(folder)
        except OSError as error:
            raise _missing(error) from None

    def _names(self, model: str) -> list[str]:
        _check(model, "x")
        try:
            with _opened(model, _FOLDER, self._fd) as folder:
                files = os.listdir(folder)  # noqa: PTH208  a descriptor, not a path
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise
        names = (file.removesuffix(SUFFIX) for file in files if file.endswith(SUFFIX))
        return sorted(name for name in names if is_name(name))

    def _read_store_id(self) -> str:
        """The directory's id; drawn by whoever comes first, and then the same for all."""
        with contextlib.suppress(FileExistsError):
            part = f".{secrets.token_hex(8)}{PART_SUFFIX}"
            fd = os.open(part, _NEW, 0o600, dir_fd=self._fd)
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_hex(8).encode())
                file.flush()
                os.fsync(fd)
            try:
                os.link(part, STORE_ID, src_dir_fd=self._fd, dst_dir_fd=self._fd)
                os.fsync(self._fd)
            finally:
                os.unlink(part, dir_fd=self._fd)
        with os.fdopen(os.open(STORE_ID, _READ, dir_fd=self._fd), "rb") as file:
            return file.read(64).decode("ascii", "replace").strip()


class Upload:
    """A snapshot being written: visible only after `publish`, gone if the block is left without."""

    def __init__(self, folder: int, model: str, name: str, require_room: RequireRoom) -> None:
        """Takes over the descriptor `folder`; made by SnapshotDirectory.begin."""
        self._folder = folder
        self._require_room = require_room
        self._model = model
        self._name = name
        self._part = f".{secrets.token_hex(8)}{PART_SUFFIX}"
        self._file = os.fdopen(os.open(self._part, _NEW, 0o600, dir_fd=folder), "w+b")
        self.size = 0  # bytes written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Append bytes."""
        self._file.write(piece)
        self.size += len(piece)

    def verify(self) -> None:
        """Read the whole file as a snapshot; BadSnapshot says what is wrong with it, Conflict that
        its model would not fit into memory."""
        self._file.flush()
        _read(self._file, self._require_room)

    def publish(self) -> Description:
        """Sync the file and give it its name. Conflict when another came first."""
        self._file.flush()
        failpoint("snapshot.written")
        os.fsync(self._file.fileno())
        failpoint("snapshot.synced")
        self._file.seek(0)
        header = read_header(self._file)
        final = self._name + SUFFIX
        try:
            # A link fails where a rename would silently replace: the name is taken exclusively.
            os.link(self._part, final, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except FileExistsError:
            raise _taken() from None
        failpoint("snapshot.linked")
        os.fsync(self._folder)
        failpoint("snapshot.published")
        return Description(self._model, self._name, self.size, header)

    def close(self) -> None:
        """Remove the temporary name, published or not."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part, dir_fd=self._folder)
        os.close(self._folder)
        failpoint("snapshot.closed")


def _read(file: BinaryIO, require_room: RequireRoom) -> tuple[Header, Model]:
    """The whole snapshot, of whose model there is room for: the header is looked at first."""
    file.seek(0)
    require_room(read_header(file).config)
    file.seek(0)
    return read_snapshot(file)


_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def new_name(position: str, created_ms: int) -> str:
    """A name for a snapshot that was given none: when it was taken, and where."""
    when = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime(created_ms / 1000))
    return f"{when}-{position}"


def _check(model: str, name: str) -> None:
    if not is_name(model) or not is_name(name):
        raise Problem("snapshot-not-found", "no snapshot has such a name")


def _taken() -> Conflict:
    return Conflict("snapshot-exists", "a snapshot of this model has that name")


def _missing(error: OSError) -> Exception:
    """404 for what is not there; a disk that fails stays the failure that it is."""
    if error.errno in _ABSENT:
        return Problem("snapshot-not-found", "the model has no snapshot of that name")
    return error


@contextlib.contextmanager
def _opened(name: str, flags: int, directory: int) -> Iterator[int]:
    fd = os.open(name, flags, dir_fd=directory)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_regular(file: str, folder: int) -> BinaryIO:
    """Open a file that is one; a folder, a pipe or a device counts as absent."""
    fd = os.open(file, _READ, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a regular file")
    return os.fdopen(fd, "rb")


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove_abandoned(folder: int) -> None:
    """Remove what a crash left half written long ago; younger ones may be somebody's work."""
    before = time.time() - ABANDONED_SECONDS
    for file in os.listdir(folder):
        if file.startswith(".") and file.endswith(PART_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                if os.stat(file, dir_fd=folder, follow_symlinks=False).st_mtime < before:
                    os.unlink(file, dir_fd=folder)
