"""What an edge device does, whatever carries its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from rinr_flower.clients.folder import DeviceFolder
from rinr_flower.codecs import codecs, decode
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Accuracy, Detector, State, TrainingLog
from rinr_flower.errors import ConfigError
from rinr_flower.strategies.protocol import Capture


@dataclass(frozen=True)
class Training:
    """How devices train; the fog sends it with every message.

    Attributes
    ----------
    class_names : what the detector tells apart.
    scale : YOLOv8 size: n, s, m, l or x.
    image_size : longer side in pixels of the detector's input.
    steps, batch : training steps of a round and frames of a step.
    learning_rate : of the optimiser.
    seed : of a device's first weights, if the fog sends none, and of the order of its batches.
    """

    class_names: tuple[str, ...] = ("object",)
    scale: Literal["n", "s", "m", "l", "x"] = "n"
    image_size: int = 160
    steps: int = 40
    batch: int = 8
    learning_rate: float = 1e-3
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
            "seed": self.seed,
        }


class EdgeDevice:
    """A device with a camera's frames on its disk and a detector to train.

    Parameters
    ----------
    folder : its own frames.
    device : torch device that it decodes and trains on.
    """

    def __init__(self, folder: DeviceFolder, device: torch.device | str = "cpu") -> None:
        self.folder = folder
        self.device = torch.device(device)

    @property
    def name(self) -> str:
        return self.folder.name

    def upload(self, server_round: int, upload: str | Mapping[str, Any]) -> list[Capture]:
        """The captures of a round, encoded for the way up; the camera's own files as they are where that is asked."""
        codec = codecs.create(upload)
        captures = []
        for clip in self.folder.captures(server_round):
            data = clip.data
            if codec != codecs.create("jpeg"):
                data = codec.encode(decode(clip.data, name=clip.name), device=self.device)
            captures.append(Capture(self.name, clip.name, clip.camera_bytes, data))
        return captures

    def train(
        self, server_round: int, received: Sequence[bytes], model: State | None, training: Training
    ) -> tuple[State, TrainingLog, int]:
        """Train on what was received and on the own captures so far: new weights, log, and the number of frames."""
        own = [clip.data for clip in self.folder.captured_until(server_round)]
        store = FrameStore([*own, *received], device=self.device)
        detector = self._detector(model, training)
        trained = detector.fit(
            store,
            range(len(store)),
            steps=training.steps,
            batch=training.batch,
            size=training.image_size,
            seed=training.seed + server_round,
            learning_rate=training.learning_rate,
        )
        return detector.state(), trained, len(store)

    def evaluate(self, model: State | None, training: Training) -> Accuracy:
        """Accuracy on the frames held back."""
        store = FrameStore([self.folder.held_back().data], device=self.device)
        return self._detector(model, training).evaluate(store, range(len(store)), size=training.image_size)

    def _detector(self, model: State | None, training: Training) -> Detector:
        from rinr_flower.detection import YoloV8

        detector = YoloV8(training.class_names, scale=training.scale, device=self.device, seed=training.seed)
        if model is not None:
            detector.load_state(model)
        return detector
