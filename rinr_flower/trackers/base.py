"""The tracker interface, and the registry of trackers."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from rinr_flower.errors import ConfigError
from rinr_flower.registry import Registry


class Tracker(ABC):
    """One tracker of experiments, through its own client.

    A tracker is a dataclass: its fields are its options. It imports its client when it is opened, never before.
    """

    name: ClassVar[str]
    module: ClassVar[str]
    """The client's module; the extra that installs it has the tracker's name."""

    def check(self) -> None:
        """ConfigError if the client is not installed."""
        if importlib.util.find_spec(self.module) is None:
            raise ConfigError(f"log: {self.name} needs {self.module}: pip install 'rinr_flower[{self.name}]'")

    @abstractmethod
    def open(self, folder: Path, job: str, settings: Mapping[str, Any]) -> None:
        """Begin a run, or go on with it: ``job`` is the same then. ``settings`` are the scenario's keys."""

    @abstractmethod
    def log(self, number: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a round; those of round 0 are from before the first."""

    @abstractmethod
    def close(self, files: Sequence[Path]) -> None:
        """End the run; ``files`` are its report."""


trackers: Registry[Tracker] = Registry("tracker", "rinr_flower.trackers")


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings as one level: ``codec.name``; lists as text."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
