"""Snapshots: take, list, describe, download, upload, restore, delete.

Files go through in pieces, in both directions: a snapshot may be larger than memory should hold
twice. An upload is written under a temporary name and read as a snapshot from beginning to end
before it is visible, so that nothing that is listed can turn out to be damaged on the day it is
needed; it has a size limit of its own. Disk work runs in threads.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse

from app.dependencies import ModelName, ObjectOf, ReplicaOf, SnapshotName, SnapshotsOf
from app.names import NAME_PATTERN, NAME_RULE, is_name
from app.problems import Problem
from app.replies import json_reply
from app.request_body import content_length, parts
from app.schemas import RestoredReply, SnapshotListReply, SnapshotReply, object_body, problems
from app.snapshots import Upload, new_name
from ftrl_core.snapshot_file import write_snapshot

router = APIRouter(tags=["snapshots"])
UPLOAD_BYTES_MAX = 16 << 30
PIECE_BYTES = 1 << 20
MEDIA_TYPE = "application/octet-stream"
_CREATED = 201
_FILE: dict[str, Any] = {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}
_TAKE = object_body(
    "The name; made from time and position when left out.",
    {"name": {"type": ["string", "null"], "pattern": NAME_PATTERN}},
    {"name": "before-sale"},
    required=False,
)


@router.post(
    "/admin/snapshots",
    summary="Take a snapshot",
    status_code=_CREATED,
    response_model=SnapshotReply,
    responses=problems(400, 404, 409, 413, 415, 422, 503),
    openapi_extra=_TAKE,
)
async def take_snapshot(snapshots: SnapshotsOf, replica: ReplicaOf, given: ObjectOf) -> Response:
    """Write the model as it is at one position to the snapshot directory."""
    name = given.pop("name", None)
    if given:
        raise Problem("bad-config", "only `name` can be given")
    created_ms = int(time.time() * 1000)
    name = new_name(str(replica.require_model().position), created_ms) if name is None else name
    _check_name(name)
    taken, examples = await replica.snapshot_cut()
    pieces = write_snapshot(
        taken,
        name=name,
        incarnation=replica.incarnation,
        created_ms=created_ms,
        examples=examples,
    )
    try:
        described = await asyncio.to_thread(snapshots.take, replica.name, name, pieces)
    except OSError as error:
        raise _disk_problem(error) from error
    return json_reply(described.to_dict(), _CREATED)


@router.get(
    "/admin/snapshots",
    summary="List snapshots",
    response_model=SnapshotListReply,
    responses=problems(404, 503),
)
async def list_snapshots(snapshots: SnapshotsOf, model: ModelName) -> Response:
    """The model's snapshots, newest first; also those of a model that is no more."""
    found = await asyncio.to_thread(snapshots.list_of, model)
    return json_reply({"model": model, "snapshots": [one.to_dict() for one in found]})


@router.get(
    "/admin/snapshots/{name}",
    summary="Describe a snapshot",
    response_model=SnapshotReply,
    responses=problems(404, 422, 503),
)
async def describe_snapshot(
    snapshots: SnapshotsOf, model: ModelName, name: SnapshotName
) -> Response:
    """What the file says of itself."""
    described = await asyncio.to_thread(snapshots.describe, model, name)
    return json_reply(described.to_dict())


@router.delete(
    "/admin/snapshots/{name}",
    summary="Delete a snapshot",
    status_code=204,
    responses=problems(404, 503),
)
async def delete_snapshot(snapshots: SnapshotsOf, model: ModelName, name: SnapshotName) -> Response:
    """Remove the file."""
    await asyncio.to_thread(snapshots.delete, model, name)
    return Response(status_code=204)


@router.get(
    "/admin/snapshots/{name}/file",
    summary="Download a snapshot",
    response_class=Response,
    responses={**problems(404, 503), 200: {"content": _FILE, "description": "the file"}},
)
async def download_snapshot(
    snapshots: SnapshotsOf, model: ModelName, name: SnapshotName
) -> Response:
    """The file's bytes, as they are on disk."""
    file = await asyncio.to_thread(snapshots.open, model, name)
    size = await asyncio.to_thread(_size, file)
    headers = {
        "content-length": str(size),
        "content-disposition": f'attachment; filename="{model}-{name}.cfs"',
    }
    return StreamingResponse(_pieces(file), media_type=MEDIA_TYPE, headers=headers)


@router.put(
    "/admin/snapshots/{name}/file",
    summary="Upload a snapshot",
    status_code=_CREATED,
    response_model=SnapshotReply,
    responses=problems(400, 404, 409, 413, 422, 503),
    openapi_extra={"requestBody": {"required": True, "content": _FILE}},
)
async def upload_snapshot(
    request: Request, snapshots: SnapshotsOf, model: ModelName, name: SnapshotName
) -> Response:
    """Store a snapshot file; refused, with the reason, unless every byte of it verifies."""
    _check_name(name)
    if (content_length(request.scope) or 0) > UPLOAD_BYTES_MAX:
        raise _too_large()
    upload = await asyncio.to_thread(snapshots.begin, model, name)
    try:
        async for piece in parts(request.receive):
            if upload.size + len(piece) > UPLOAD_BYTES_MAX:
                raise _too_large()
            await asyncio.to_thread(upload.write, piece)
        described = await asyncio.to_thread(_publish, upload)
    except OSError as error:
        raise _disk_problem(error) from error
    finally:
        await asyncio.shield(asyncio.to_thread(upload.close))
    return json_reply(described, _CREATED)


@router.post(
    "/admin/snapshots/{name}/restore",
    summary="Restore a snapshot",
    response_model=RestoredReply,
    responses=problems(404, 409, 422, 503),
)
async def restore_snapshot(
    snapshots: SnapshotsOf, replica: ReplicaOf, name: SnapshotName
) -> Response:
    """Verify the whole file, then switch every replica to it at one position."""
    header, restored = await asyncio.to_thread(snapshots.load, replica.name, name)
    position = await replica.restore(restored)
    return json_reply(
        {
            "model": replica.name,
            "position": str(position),
            "snapshot": name,
            "digest": header.digest,
        }
    )


def _publish(upload: Upload) -> dict[str, Any]:
    upload.verify()
    return upload.publish().to_dict()


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not is_name(name):
        raise Problem("bad-name", f"a snapshot's name is {NAME_RULE}")


def _too_large() -> Problem:
    return Problem("too-large", f"a snapshot file has at most {UPLOAD_BYTES_MAX} bytes")


def _disk_problem(error: OSError) -> Exception:
    """A full disk is the operator's to mend and is said; any other failure is a failure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Problem("no-space", "the snapshot directory's disk is full")
    return error


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            yield piece
    finally:
        file.close()
