"""The work of an edge device, whatever carries its messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rinr_flower.array_file import Arrays
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients.device_state import DeviceState
from rinr_flower.clients.incoming import add_payloads
from rinr_flower.clients.own_frames import OwnClip, OwnFrames
from rinr_flower.codecs import codecs, decode
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Accuracy, Detector, State, TrainingLog
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.messages.identity import DeviceIdentity
from rinr_flower.messages.protocol import Capture, check_classes
from rinr_flower.messages.training import Training

TrainingStep = Callable[[Detector, FrameStore, Training, int], TrainingLog]
"""Trains a detector on all frames of a store, with settings, in a round."""


def fit(detector: Detector, store: FrameStore, training: Training, server_round: int) -> TrainingLog:
    """Train as the settings say; the round shifts their seed."""
    return training.fit(detector, store, seed=server_round)


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a round's training on a device.

    Attributes
    ----------
    model : the new weights.
    log : of the training.
    frames : trained on.
    refused : names of payloads that could not be used.
    """

    model: State
    log: TrainingLog
    frames: int
    refused: tuple[str, ...]


class EdgeDevice:
    """A device with a camera's frames on its disk and a detector to train.

    Parameters
    ----------
    frames : its own, a :class:`DeviceFolder` or a :class:`FrameFolder`.
    device : torch device that it decodes and trains on.
    state : where it keeps what must outlast a message; None is the folder that ``frames`` proposes.
    identity : its keys; None leaves messages unsigned and unchecked.

    Raises
    ------
    ConfigError
        If ``identity`` is of another name.
    """

    def __init__(
        self,
        frames: OwnFrames,
        device: torch.device | str = "cpu",
        *,
        state: DeviceState | None = None,
        identity: DeviceIdentity | None = None,
    ) -> None:
        if identity is not None and identity.name != frames.name:
            raise ConfigError(f"the device is called {frames.name!r}, but its key belongs to {identity.name!r}")
        self.frames = frames
        self.device = torch.device(device)
        self.state = DeviceState(frames.path / "state") if state is None else state
        self.identity = identity

    @property
    def name(self) -> str:
        return self.frames.name

    def upload(self, captured: Sequence[OwnClip], upload: str | Mapping[str, Any]) -> list[Capture]:
        """Captures encoded for the way up; the camera's own files as they are where that is asked."""
        codec = codecs.create(upload)
        captures = []
        for clip in captured:
            data = clip.data
            if codec != codecs.create("jpeg"):
                data = codec.encode(decode(clip.data, name=clip.name), device=self.device)
            captures.append(Capture(self.name, clip.name, clip.camera_bytes, data))
        return captures

    def train(
        self,
        server_round: int,
        own: Sequence[OwnClip],
        received: Mapping[str, bytes],
        model: Arrays | None,
        training: Training,
        step: TrainingStep | None = None,
    ) -> Trained:
        """Train on the own captures so far and on received payloads, given by name; a bad one costs itself alone.

        ``step`` does the training; None is :func:`fit`. DataError if own frames have a class that ``training`` does not
        name, or if ``step`` returns no log.
        """
        for clip in own:
            payload = Payload.from_bytes(clip.data)
            try:
                check_classes(payload, training.class_names)
            except PayloadError as error:
                raise DataError(f"own clip {clip.name!r}: {error}; name it in the fog's train_config too") from error
        store = FrameStore([clip.data for clip in own], device=self.device)
        refused = add_payloads(store, received, training.class_names)
        detector = self._detector(model, training)
        log = (step or fit)(detector, store, training, server_round)
        if not isinstance(log, TrainingLog) or not log.losses:
            raise DataError(f"the training step returned {log!r}; it must return a TrainingLog with at least one loss")
        return Trained(detector.state(), log, len(store), tuple(refused))

    def evaluate(self, held_back: Sequence[OwnClip], model: Arrays | None, training: Training) -> Accuracy:
        """Accuracy on frames that were held back."""
        store = FrameStore([clip.data for clip in held_back], device=self.device)
        return self._detector(model, training).evaluate(store, range(len(store)), size=training.image_size)

    def _detector(self, model: Arrays | None, training: Training) -> Detector:
        detector = training.build(self.device)
        if model is not None:
            detector.load_state(model)
        return detector
