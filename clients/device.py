"""What an edge device does, whatever carries its messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from rinr_flower.clients.folder import DeviceFolder
from rinr_flower.codecs import codecs, decode
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Accuracy, Detector, State, TrainingLog
from rinr_flower.strategies.protocol import Capture
from rinr_flower.strategies.training import Training


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

    def upload(self, server_round: int, upload: str | Mapping[str, Any] | None) -> list[Capture]:
        """The captures of a round, encoded for the way up; the camera's own files as they are where that is asked.

        None where no captures are asked for.
        """
        if upload is None:
            return []
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
        detector = training.detector(self.device)
        if model is not None:
            detector.load_state(model)
        return detector
