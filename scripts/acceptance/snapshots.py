"""Snapshot, learn more, restore, learn again; and a snapshot file with any one byte changed.

    .venv/bin/python -m scripts.acceptance.snapshots

Every 997th byte of the file is changed and the file uploaded: each must be refused with a reason,
nothing of it may become visible, and the live model may not change.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from app.cli.demo_log import generate
from scripts.acceptance.service import Service

EXAMPLES = 5000
STRIDE = 997


def main() -> None:
    """Run both parts and print what was seen."""
    log = [example for example, _ in generate(seed=4, examples=2 * EXAMPLES)]
    first, second = log[:EXAMPLES], log[EXAMPLES:]
    probe = {"examples": [{"features": example["features"]} for example in log[:1000]]}
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder,
        Service(Path(folder) / "data") as service,
    ):
        service.json("PUT", "/models/m", {"table_bits": 16}, expect=201)
        service.json("POST", "/models/m/learn", {"examples": first})
        before = service.json("POST", "/models/m/predict", probe)["predictions"]
        service.json("POST", "/models/m/admin/snapshots", {"name": "one"}, expect=201)
        service.json("POST", "/models/m/learn", {"examples": second})
        learned = service.json("GET", "/models/m/stats")["digest"]
        service.json("POST", "/models/m/admin/snapshots/one/restore")
        after = service.json("POST", "/models/m/predict", probe)["predictions"]
        accepted = service.json("POST", "/models/m/learn", {"examples": second})["accepted"]
        again = service.json("GET", "/models/m/stats")["digest"]
        report = {
            "predictions_as_at_the_snapshot": before == after,
            "digest_as_the_first_time": learned == again and accepted == EXAMPLES,
            **damage(service, again),
        }
    print(json.dumps(report))
    if not all(value is True for value in report.values() if isinstance(value, bool)):
        raise SystemExit(1)


def damage(service: Service, digest: str) -> dict[str, object]:
    """Upload the snapshot with one byte changed, at every STRIDE-th offset."""
    content = service.client.get("/models/m/admin/snapshots/one/file").content
    accepted, reasons = 0, set()
    offsets = range(0, len(content), STRIDE)
    for offset in offsets:
        changed = bytearray(content)
        changed[offset] ^= 0x20
        reply = service.client.put(
            f"/models/m/admin/snapshots/d{offset}/file",
            content=bytes(changed),
            headers={"Content-Type": "application/octet-stream"},
        )
        accepted += reply.status_code != 422
        reasons.add(reply.json().get("detail", "no reason"))
    names = [s["name"] for s in service.json("GET", "/models/m/admin/snapshots")["snapshots"]]
    return {
        "file_bytes": len(content),
        "files_damaged": len(offsets),
        "all_refused": accepted == 0,
        "nothing_visible": names == ["one"],
        "live_model_unchanged": service.json("GET", "/models/m/stats")["digest"] == digest,
        "reasons": sorted(reasons),
    }


if __name__ == "__main__":
    main()
