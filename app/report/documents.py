"""What a report is made of: the documents of /stats/*, of a service or of a snapshot file.

A snapshot holds what the fold keeps, so a finished `train` has the same curves, bins and table as a
model that is served; it has no names of values, for the log has hashes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.cli.failures import CommandFailed
from app.cli.service import Service, ServiceProblem

Document = dict[str, Any]
NOT_THERE = 404


@dataclass(frozen=True)
class Documents:
    """All that is known of a model; what a service does not offer is empty."""

    name: str
    stats: Document
    history: Document
    reliability: Document
    slices: Document


def of_service(service: Service, name: str) -> Documents:
    """Ask a service. Raises CommandFailed."""
    return Documents(
        name,
        service.stats(),
        _asked(service, name, "history"),
        _asked(service, name, "reliability"),
        _asked(service, name, "slices"),
    )


def _asked(service: Service, name: str, what: str) -> Document:
    try:
        document: Document = service.ask("GET", f"/models/{name}/stats/{what}")
    except ServiceProblem as problem:
        if problem.status != NOT_THERE:
            raise
        return {}  # an older service
    return document


def of_snapshot(path: Path) -> Documents:
    """Read a snapshot file. Raises CommandFailed."""
    from ftrl_core import reports, slice_reports
    from ftrl_core.errors import ClickfoldError
    from ftrl_core.snapshot_file import read_snapshot

    try:
        with path.open("rb") as file:
            header, model = read_snapshot(file)
    except (OSError, ClickfoldError) as error:
        raise CommandFailed(f"{path}: {error}") from error
    looked = reports.Looked.at(model.metrics)
    stats = {
        **model.stats(),
        "digest": model.digest(),
        "state_digest": model.state_digest(),
        "config": model.config.to_dict(),
    }
    name = header.name or path.stem
    return Documents(
        name,
        stats,
        reports.history(looked),
        reports.reliability(looked),
        slice_reports.slices(model.slices.tables(), lambda _: None),
    )
