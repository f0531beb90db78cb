"""Weights & Biases, online or offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rinr_flower.trackers.base import Tracker, flat, trackers


@trackers.register("wandb")
@dataclass
class WandB(Tracker):
    """Configuration, metrics by round, and the report as artefact.

    Attributes
    ----------
    project : under which the run is filed.
    mode : ``online`` or ``offline`` (then ``wandb sync``); by default what wandb's own settings say.
    """

    module = "wandb"
    project: str = "rinr_flower"
    mode: str | None = None
    _run: Any = field(default=None, init=False, repr=False)

    def open(self, folder: Path, job: str, settings: Mapping[str, Any]) -> None:
        import wandb

        options: dict[str, Any] = {"settings": wandb.Settings(console="off")} | (
            {"mode": self.mode} if self.mode else {}
        )
        self._run = wandb.init(
            project=self.project,
            dir=str(folder),
            id=job,
            name=folder.name,
            resume="allow",
            config=flat(settings),
            **options,
        )
        self._run.define_metric("*", step_metric="round")

    def log(self, number: int, metrics: Mapping[str, float]) -> None:
        self._run.log({**metrics, "round": number})

    def close(self, files: Sequence[Path]) -> None:
        import wandb

        report = wandb.Artifact(f"report-{self._run.id}", type="report")
        for file in files:
            report.add_file(str(file))
        self._run.log_artifact(report)
        self._run.finish()
