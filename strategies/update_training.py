"""Training a detector at the fog so that an update compressor can send what changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from rinr_flower.decoding import FrameStore
from rinr_flower.detection import TrainingLog, YoloV8
from rinr_flower.messages.training import Training
from rinr_flower.updates import (
    Factorised,
    Factors,
    Memory,
    RandomMask,
    StructuredLowRank,
    UpdateCompressor,
    factorise,
)
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
    """

    payload: bytes
    frames: int
    steps: int
    seconds_rendering: float
    seconds_training: float
    loss: float


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
    """
    store = FrameStore(captures, device=device)
    detector = training.detector(device)
    detector.load_state({name: tensor.numpy() for name, tensor in base.items()})

    def fit(rate: float, start: float, share: float) -> TrainingLog:
        return training.fit(
            detector,
            store,
            seed=seed,
            rate=rate,
            progress=None if progress is None else lambda done: progress(start + share * done),
        )

    if isinstance(compressor, Factorised):
        logs = [fit(1.0, 0.0, 0.5)]
        network = detector.network
        trained = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        detector.load_state({name: tensor.numpy() for name, tensor in base.items()})
        with factorise(network, compressor, start=trained, seed=seed) as factors:
            logs.append(fit(FACTOR_RATE, 0.5, 0.5))
        payload = compressor.compress_factors(_of_detector(factors, base))
    else:
        restricts = isinstance(compressor, StructuredLowRank | RandomMask)
        with compressor.restrict(detector.network, seed=seed) if restricts else nullcontext():  # type: ignore[attr-defined]
            logs = [fit(1.0, 0.0, 1.0)]
        payload = compressor.compress(base, _state(detector), memory=memory, seed=seed)
    return TrainedUpdate(
        payload,
        len(store),
        training.steps * len(logs),
        sum(log.seconds_rendering for log in logs),
        sum(log.seconds_training for log in logs),
        logs[-1].losses[-1],
    )


def _of_detector(factors: Factors, base: State) -> Factors:
    """The factors over the tensors that a detector's state has: a network holds counters and constants besides."""
    trained = {name: factors.trained[name].cpu().contiguous() for name in base}
    return replace(factors, base=dict(base), trained=trained)


def _state(detector: YoloV8) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in detector.state().items()}
