"""The three real logs through the service by `clickfold learn`, against the float64 oracle.

    .venv/bin/python -m scripts.acceptance.data_logs

For each log and each of two configurations: the largest relative difference of log loss, normalized
entropy and calibration between /stats and tests/oracle/float64.py; the difference of AUC to
scikit-learn's; whether `clickfold train` on the same file ends with the service's digest.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from sklearn.metrics import roc_auc_score

from scripts.acceptance.service import COMMAND, Service
from tests.scenarios.test_data_logs import CONFIGS, DATA, LOGS, by_oracle, read

COMPARED = ("log_loss", "normalized_entropy", "calibration")
CSV = ["--format", "csv", "--label", "click", "--ignore", "id"]
OPTIONS = {"criteo": ["--format", "criteo"], "avazu": CSV, "ipinyou": ["--format", "ndjson"]}


def file_of(log: str, folder: Path) -> str:
    """The log as it lies beside the checkout; iPinYou, whose form is its own, as ndjson."""
    if log != "ipinyou":
        return str(DATA / LOGS[log][0])
    path = folder / "ipinyou.ndjson"
    with path.open("w") as file:
        for label, features in read(log):
            file.write(json.dumps({"label": label, "features": features}) + "\n")
    return str(path)


def clickfold(*words: str) -> dict[str, Any]:
    """Run a command; its JSON line."""
    run = subprocess.run([str(COMMAND), *words, "--json"], check=True, capture_output=True)
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


def measure(service: Service, folder: Path, log: str, name: str, model: str) -> dict[str, Any]:
    """One log under one configuration."""
    config = CONFIGS[name]
    file, url = file_of(log, folder), f"http://127.0.0.1:{service.port}"
    service.json("PUT", f"/models/{model}", config, expect=201)
    clickfold("learn", "--url", url, "--model", model, *OPTIONS[log], file)
    stats = service.json("GET", f"/models/{model}/stats")
    words = ("--config", json.dumps(config), "--out", str(folder / f"{model}.cfs"))
    trained = clickfold("train", *OPTIONS[log], *words, file)
    oracle = by_oracle(log, config)
    auc = roc_auc_score([label for label, _ in read(log)], oracle.predictions)
    difference = max(abs(stats[f] / oracle.figures[f] - 1) for f in COMPARED)
    return {
        "log": log,
        "config": name,
        "examples": stats["examples"],
        **{figure: round(stats[figure], 7) for figure in COMPARED},
        "base_rate_log_loss": round(stats["base_rate_log_loss"], 7),
        "largest_relative_difference": float(f"{difference:.1e}"),
        "auc": round(stats["auc"], 6),
        "auc_difference": float(f"{abs(stats['auc'] - auc):.1e}"),
        "train_has_the_same_digest": trained["digest"] == stats["digest"],
    }


def main() -> None:
    """Print one JSON line for each log and configuration; exit status 1 when one is off."""
    fine = True
    with (
        tempfile.TemporaryDirectory(prefix="clickfold-accept-") as folder,
        Service(Path(folder) / "data") as service,
    ):
        for log in LOGS:
            for number, name in enumerate(CONFIGS):
                row = measure(service, Path(folder), log, name, f"{log}-{number}")
                fine &= row["largest_relative_difference"] < 1e-5 and row["auc_difference"] < 1e-3
                fine &= bool(row["train_has_the_same_digest"])
                print(json.dumps(row), flush=True)
    if not fine:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
