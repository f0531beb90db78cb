"""Training a detector at the fog so that an update compressor can send what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rinr_flower.decoding import FrameStore
from rinr_flower.detection import TrainingLog
from rinr_flower.detection.network_detector import NetworkDetector
from rinr_flower.errors import ConfigError
from rinr_flower.messages.training import Training
from rinr_flower.updates import Factorised, Memory, UpdateCompressor, updating
from rinr_flower.updates.layout import State

FACTOR_RATE = 3.0  # learning rate of factors in units of that of weights, see docs/updates.md


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

    ``training.steps`` steps, as a device would. A ``factorised`` compressor then trains its factors, starting from the
    strongest components of that change, for as many steps again. Compressors that train in a space of their own
    (``structured_low_rank``, ``random_mask``) take all steps there; the others compress the finished change, with error
    feedback in ``memory``.

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

    def fit(rate: float, start: float, share: float) -> TrainingLog:
        return training.fit(
            detector,
            store,
            seed=seed,
            rate=rate,
            progress=None if progress is None else lambda done: progress(start + share * done),
        )

    network, logs, trained = detector.network, [], None
    if isinstance(compressor, Factorised):
        logs.append(fit(1.0, 0.0, 0.5))
        trained = {name: tensor.detach().clone() for name, tensor in network.state_dict().items() if name in base}
        detector.load_state({name: tensor.numpy() for name, tensor in base.items()})
    with updating(network, compressor, start=trained, memory=memory, seed=seed, only=base) as update:
        logs.append(fit(1.0 if trained is None else FACTOR_RATE, 0.5 * len(logs), 1 - 0.5 * len(logs)))
    return TrainedUpdate(
        update.payload,
        len(store),
        training.steps * len(logs),
        sum(log.seconds_rendering for log in logs),
        sum(log.seconds_training for log in logs),
        logs[-1].losses[-1],
        memory,
    )
