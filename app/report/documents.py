"""What a report is made of: the documents of /stats/*, of a service or of a snapshot file.

A snapshot holds what the fold keeps, so a finished `train` has the same curves, bins and table as a
model that is served; it has no names of values, for the log has hashes alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from app.cli.failures import CommandFailed
from app.cli.service import Service, ServiceProblem

Document = dict[str, Any]
NOT_THERE = 404
LARGEST = 50


@dataclass(frozen=True)
class Documents:
    """All that is known of a model; what a service does not offer is empty."""

    name: str
    stats: Document
    history: Document
    reliability: Document
    slices: Document
    table: Document
    features: Document


def of_service(service: Service, name: str) -> Documents:
    """Ask a service. Raises CommandFailed."""
    return Documents(
        name,
        service.stats(),
        _asked(service, name, "history"),
        _asked(service, name, "reliability"),
        _asked(service, name, "slices"),
        _asked(service, name, "table"),
        _asked(service, name, "features"),
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
    from ftrl_core.survey import survey

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
    look = survey(model.coefficients, model.examples)
    columns = (column.tolist() for column in (look.largest, look.weights, look.ns))
    largest = [
        {"names": [], "slot": slot, "weight": weight, "n": n}
        for slot, weight, n in islice(zip(*columns, strict=True), LARGEST)
    ]
    return Documents(
        name,
        stats,
        reports.history(looked),
        reports.reliability(looked),
        slice_reports.slices(model.slices.tables(), lambda _: None),
        look.document(),
        {"by_weight": largest},
    )
