"""What the data directory remembers of the models in Redis, to notice when Redis forgets.

A Redis that comes back empty looks exactly like a new one. This file, written when a model is made
or first loaded, is the difference between "make `default`" and "something lost all data: raise the
alarm". It holds names and incarnations only:

    <data_dir>/models.json    {"<key prefix>": {"<model>": "<incarnation>"}}
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

from app.failpoints import failpoint

FILE_NAME = "models.json"


class KnownModels:
    """The remembered incarnations of one key prefix."""

    def __init__(self, data_dir: Path, prefix: str) -> None:
        self.path = data_dir / FILE_NAME
        self._prefix = prefix

    def read(self) -> dict[str, str]:
        """Model name to incarnation; empty when nothing was ever remembered."""
        return dict(self._whole().get(self._prefix, {}))

    def remember(self, name: str, incarnation: str) -> None:
        """Note a model; safe against a crash in between (temporary file, sync, rename)."""
        models = self.read()
        if models.get(name) != incarnation:
            models[name] = incarnation
            self._write(models)

    def forget(self, name: str) -> None:
        """Strike out a model that was deleted on purpose."""
        models = self.read()
        if models.pop(name, None) is not None:
            self._write(models)

    def _whole(self) -> dict[str, dict[str, str]]:
        try:
            return dict(json.loads(self.path.read_text()))
        except FileNotFoundError:
            return {}

    def _write(self, models: dict[str, str]) -> None:
        whole = {**self._whole(), self._prefix: models}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(f".{secrets.token_hex(4)}.tmp")
        with temporary.open("w") as file:
            json.dump(whole, file, indent=1, sort_keys=True)
            file.flush()
            failpoint("known.written")
            os.fsync(file.fileno())
        failpoint("known.synced")
        temporary.replace(self.path)
        failpoint("known.replaced")
