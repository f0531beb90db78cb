"""Where a run keeps what it made."""

from __future__ import annotations

import hashlib
import os
from datetime import datetime
from pathlib import Path

from rinr_flower.errors import ConfigError


class RunFolder:
    """A run's folder: ``scenario.yaml``, ``devices/``, ``captures/``, ``payloads/``, ``examples/``, the log, the ledger
    and the reports. Captures and payloads are files named by the SHA-256 of their bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, out: str) -> RunFolder:
        """A new or empty folder, or ``runs/DATE-TIME`` if ``out`` is empty. ConfigError if it holds anything."""
        path = Path(out) if out else Path("runs") / datetime.now().strftime("%Y%m%d-%H%M%S")
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise ConfigError(f"the run's folder {path} is not empty; name a new one with --out")
        except OSError as error:
            raise ConfigError(f"the run's folder {path} cannot be made: {error}") from error
        return cls(path.resolve())

    @property
    def devices(self) -> Path:
        return self.path / "devices"

    @property
    def examples(self) -> Path:
        return self.path / "examples"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.csv"

    @property
    def log(self) -> Path:
        return self.path / "flower.log"

    def keep(self, kind: str, data: bytes) -> Path:
        """Store bytes under ``captures`` or ``payloads``; a reader sees the whole file or none."""
        path = self.path / kind / f"{hashlib.sha256(data).hexdigest()}.rinr"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            temporary = path.with_suffix(".part")
            temporary.write_bytes(data)
            os.replace(temporary, path)
        return path
