"""How a detector is trained: settings that travel with the fog's messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from rinr_flower.errors import ConfigError

if TYPE_CHECKING:
    from rinr_flower.decoding import FrameStore
    from rinr_flower.detection import Detector, TrainingLog, YoloV8


@dataclass(frozen=True)
class Training:
    """How a detector is trained in a round, on a device or at the fog; the fog sends it with every message.

    Attributes
    ----------
    class_names : what the detector tells apart.
    scale : YOLOv8 size: n, s, m, l or x.
    image_size : longer side in pixels of the detector's input.
    steps, batch : training steps of a round and frames of a step.
    learning_rate : of the optimiser.
    blur : share of the frames that training blurs, see :mod:`rinr_flower.decoding.blur`.
    seed : of the first weights, if the fog sends none, and of the order of the batches.
    """

    class_names: tuple[str, ...] = ("object",)
    scale: Literal["n", "s", "m", "l", "x"] = "n"
    image_size: int = 160
    steps: int = 40
    batch: int = 8
    learning_rate: float = 1e-3
    blur: float = 0.0
    seed: int = 0

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Training:
        """From the ConfigRecord of a message, whose keys are the fields' names with dashes."""
        try:
            return cls(
                tuple(str(name) for name in config["class-names"]),
                config["scale"],
                int(config["image-size"]),
                int(config["steps"]),
                int(config["batch"]),
                float(config["learning-rate"]),
                float(config["blur"]),
                int(config["seed"]),
            )
        except KeyError as error:
            raise ConfigError(f"the message's config lacks {error}; it has {sorted(config)}") from None

    def to_config(self) -> dict[str, Any]:
        """For a ConfigRecord."""
        return {
            "class-names": list(self.class_names),
            "scale": self.scale,
            "image-size": self.image_size,
            "steps": self.steps,
            "batch": self.batch,
            "learning-rate": self.learning_rate,
            "blur": self.blur,
            "seed": self.seed,
        }

    def detector(self, device: torch.device | str = "cpu") -> YoloV8:
        """A new detector with the first weights that ``seed`` gives. Imports ultralytics."""
        from rinr_flower.detection import YoloV8

        return YoloV8(self.class_names, scale=self.scale, device=device, seed=self.seed)

    def fit(
        self,
        detector: Detector,
        store: FrameStore,
        *,
        seed: int,
        rate: float = 1.0,
        progress: Callable[[float], None] | None = None,
    ) -> TrainingLog:
        """Train ``detector`` on all frames of ``store``.

        ``seed`` is added to that of the settings, and ``rate`` is the learning rate in units of theirs.
        """
        return detector.fit(
            store,
            range(len(store)),
            steps=self.steps,
            batch=self.batch,
            size=self.image_size,
            seed=self.seed + seed,
            learning_rate=self.learning_rate * rate,
            blur=self.blur,
            progress=progress,
        )
