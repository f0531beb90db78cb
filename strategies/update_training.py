"""Training a detector at the fog so that an update compressor can send what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rinr_flower.decoding import FrameStore
from rinr_flower.detection.network_detector import NetworkDetector
from rinr_flower.errors import ConfigError
from rinr_flower.messages.training import Training
from rinr_flower.updates import Memory, UpdateCompressor, updating
from rinr_flower.updates.layout import State


@dataclass(frozen=True)
class TrainedUpdate:
    """An update and the training that made it.

    Attributes
    ----------
    payload : what the compressor made.
    frames : trained on.
    steps : training steps in all.
    seconds_rendering, seconds_training : as in :class:`TrainingLog`, in all.
    loss : of the last step.
    memory : the compressor's error feedback after the update.
    """

    payload: bytes
    frames: int
    steps: int
    seconds_rendering: float
    seconds_training: float
    loss: float
    memory: Memory


def train_update(
    base: State,
    captures: Sequence[bytes],
    training: Training,
    compressor: UpdateCompressor,
    *,
    memory: Memory,
    seed: int,
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> TrainedUpdate:
    """Train from ``base`` on all frames of ``captures`` and compress the change.

    ``training.steps`` steps, as a device would. Compressors with a space of their own (``factorised``,
    ``structured_low_rank``, ``random_mask``) train in it; the others compress the finished change, with error feedback
    in ``memory``.

    Raises
    ------
    DataError
        If training diverges.
    ConfigError
        If the detector is no torch network.
    """
    store = FrameStore(captures, device=device)
    detector = training.build(device)
    if not isinstance(detector, NetworkDetector):
        raise ConfigError(f"the fog trains torch networks; detector {training.detector!r} has none")
    detector.load_state({name: tensor.numpy() for name, tensor in base.items()})

    with updating(detector.network, compressor, memory=memory, seed=seed, only=base) as update:
        log = training.fit(detector, store, seed=seed, progress=progress)
    return TrainedUpdate(
        update.payload,
        len(store),
        training.steps,
        log.seconds_rendering,
        log.seconds_training,
        log.losses[-1],
        memory,
    )
