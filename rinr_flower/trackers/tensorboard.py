"""TensorBoard: event files in the run's folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rinr_flower.trackers.base import Tracker, flat, trackers


@trackers.register("tensorboard")
@dataclass
class TensorBoard(Tracker):
    """Scalars by round, the scenario as text, and the report's figures as images: ``tensorboard --logdir RUN``.

    Attributes
    ----------
    folder : where the event files go; by default ``tensorboard/`` in the run's folder.
    """

    module = "tensorboard"
    folder: str = ""
    _writer: Any = field(default=None, init=False, repr=False)

    def open(self, folder: Path, job: str, settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(Path(self.folder) / job if self.folder else folder / "tensorboard"))
        text = "\n".join(f"    {key}: {value}" for key, value in flat(settings).items())
        self._writer.add_text("scenario", text, 0)

    def log(self, number: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def close(self, files: Sequence[Path]) -> None:
        for file in files:
            if file.suffix == ".png":
                with Image.open(file) as picture:
                    picture.thumbnail((1600, 1600))
                    self._writer.add_image(file.stem, np.asarray(picture.convert("RGB")), dataformats="HWC")
        self._writer.close()
