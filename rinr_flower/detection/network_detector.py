"""A detector around a torch network: the training loop, accuracy and weights that all architectures have in common.

The loop is ours, because a simulated device must leave the process as it found it: no global seeds, no thread counts,
no files.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import STRIDE, Augmentation, Batch
from rinr_flower.decoding.blur import blur_some
from rinr_flower.detection import batches
from rinr_flower.detection.average_precision import mean_average_precision
from rinr_flower.detection.detector import Accuracy, Detections, State, TrainingLog
from rinr_flower.detection.precision import Precision
from rinr_flower.detection.proximal import ProximalTerm
from rinr_flower.detection.state import check_state
from rinr_flower.detection.stopwatch import Stopwatch
from rinr_flower.errors import ConfigError, DataError

LEARNING_RATE = 1e-3
WEIGHT_DECAY = 5e-4
WARMUP_SHARE = 0.1  # of the steps, with a rising learning rate; then a cosine down to FINAL_SHARE of it
FINAL_SHARE = 0.01
MAX_GRADIENT_NORM = 10.0
STATISTICS_BATCHES = 10
EVALUATION_BATCH = 16


class NetworkDetector(ABC):
    """The part of a :class:`rinr_flower.detection.detector.Detector` that does not depend on the architecture.

    Parameters
    ----------
    network : a torch module, with its first weights.
    class_names : what to tell apart.
    device : where the network runs.
    architecture : what the network is called in messages.
    mixed_precision : of training, see :class:`rinr_flower.detection.precision.Precision`; None is on for CUDA only.
    """

    def __init__(
        self,
        network: Any,
        class_names: Sequence[str],
        *,
        device: torch.device | str,
        architecture: str,
        mixed_precision: bool | None = None,
    ) -> None:
        self._class_names = checked_names(class_names)
        self.architecture = architecture
        self.device = torch.device(device)
        self._mixed_precision = mixed_precision
        self._memory_format = torch.contiguous_format if self.device.type == "mps" else torch.channels_last
        self.network = network
        self.network.to(self.device, memory_format=self._memory_format)
        self.network.eval()

    @abstractmethod
    def _loss(self, steps: int) -> Callable[[Batch], torch.Tensor]:
        """The loss of a training of ``steps`` steps: of a batch, summed over its frames, in training mode."""

    @abstractmethod
    def _forward(self, made: Batch) -> None:
        """Pass a batch through the network in training mode, for the sake of its normalisation statistics."""

    @abstractmethod
    def _detect(self, pictures: torch.Tensor, confidence: float) -> list[NDArray[np.float32]]:
        """Per picture rows of x1, y1, x2, y2 (pixels), score and class; the network is in evaluation mode."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the detector tells apart, in the order of its class indices."""
        return self._class_names

    def fit(
        self,
        store: FrameStore,
        indices: Sequence[int],
        *,
        steps: int,
        batch: int = 8,
        size: int = 160,
        seed: int = 0,
        learning_rate: float | None = None,
        blur: float = 0.0,
        proximal_mu: float = 0.0,
        progress: Callable[[float], None] | None = None,
        augmentation: Augmentation | None = None,
    ) -> TrainingLog:
        """Train on the frames ``indices`` of ``store``; see :meth:`Detector.fit`.

        AdamW with a short warm-up and a cosine (``learning_rate`` None takes LEARNING_RATE), then the normalisation
        statistics are measured anew: after few steps a running average would still be that of the old weights.
        ``augmentation`` changes the frames at random; None shows them as they are.
        """
        if steps < 1 or batch < 1:
            raise ConfigError(f"training for {steps} steps of {batch} frames; both must be at least 1")
        if not 0 <= blur <= 1:
            raise ConfigError(f"training with blur {blur}; it is a probability, 0..1")
        generator = np.random.default_rng(seed)
        chosen = batches.shuffled(some(indices), batch, generator)
        shape = batches.input_size([store.frame_size(i) for i in indices], size)
        if batch * shape[0] * shape[1] <= STRIDE**2:
            raise ConfigError(
                f"{batch} frame of {shape[1]}x{shape[0]} px is too small a batch to normalise over; take more or larger"
            )
        rate = LEARNING_RATE if learning_rate is None else learning_rate
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        optimiser = _optimiser(parameters, rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _schedule(step, steps))
        precision = Precision(self.device, self._mixed_precision)
        proximal = ProximalTerm(parameters, proximal_mu)

        def named(index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return batches.labels(store, index, self._class_names)

        rendering, training = Stopwatch(self.device), Stopwatch(self.device)
        losses: list[torch.Tensor] = []
        loss_of = self._loss(steps)
        for step in range(steps):
            with rendering:
                frames = next(chosen)
                if augmentation is None:
                    made = batches.letterboxed(store, frames, shape, self._class_names)
                else:
                    made = augmentation.batch(store, frames, indices, shape, named, generator)
                if blur:
                    made = replace(made, pictures=blur_some(made.pictures, blur, generator))
            with training:
                self.network.train()
                with precision.forward():
                    loss = loss_of(made)
                precision.step(loss, optimiser, parameters, MAX_GRADIENT_NORM, proximal.add_gradient)
                schedule.step()
                losses.append(loss.detach() / batch)
            if progress is not None:
                progress((step + 1) / steps)
        with training:
            self.measure_statistics(store, indices, batch=batch, size=size, seed=seed)
        values = tuple(torch.stack(losses).tolist())
        if not math.isfinite(values[-1]):
            raise DataError(f"training diverged: the loss is {values[-1]}; take a learning rate below {rate:g}")
        return TrainingLog(rendering.seconds(), training.seconds(), values)

    @torch.no_grad()
    def measure_statistics(
        self, store: FrameStore, indices: Sequence[int], *, batch: int = 8, size: int = 160, seed: int = 0
    ) -> None:
        """Set the batch normalisation's mean and variance to their average over up to STATISTICS_BATCHES batches.

        For weights whose statistics are not their own: after a short training, and after averaging models.
        """
        norms = [m for m in self.network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        momentum = [n.momentum for n in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain average over the batches
        shape = batches.input_size([store.frame_size(i) for i in some(indices)], size)
        chosen = batches.shuffled(indices, batch, np.random.default_rng(seed))
        self.network.train()
        for _ in range(min(STATISTICS_BATCHES, math.ceil(len(indices) / batch))):
            self._forward(batches.letterboxed(store, next(chosen), shape, self._class_names))
        self.network.eval()
        for norm, value in zip(norms, momentum, strict=True):
            norm.momentum = value

    def evaluate(self, store: FrameStore, indices: Sequence[int], *, size: int = 160) -> Accuracy:
        """mAP on the frames ``indices`` by the COCO definition, boxes in the frames' own pixels."""
        found = self.predict(store, indices, size=size, confidence=0.001)
        truths = [batches.labels(store, i, self._class_names) for i in indices]
        map50, map50_95 = mean_average_precision(found, truths)
        return Accuracy(map50, map50_95, len(indices), sum(len(boxes) for boxes, _ in truths))

    @torch.no_grad()
    def predict(
        self, store: FrameStore, indices: Sequence[int], *, size: int = 160, confidence: float = 0.25
    ) -> list[Detections]:
        """Objects in each of the frames ``indices``: at most 300 boxes a frame, overlaps suppressed."""
        self.network.eval()
        found: list[Detections] = []
        shape = batches.input_size([store.frame_size(i) for i in some(indices)], size)
        for start in range(0, len(indices), EVALUATION_BATCH):
            part = indices[start : start + EVALUATION_BATCH]
            matrices = [batches.letterbox(store.frame_size(i), shape) for i in part]
            pictures = store.render(part, shape, matrix=torch.tensor(np.stack(matrices), dtype=torch.float32))
            tables = self._detect(self._placed(pictures), confidence)
            for i, matrix, table in zip(part, matrices, tables, strict=True):
                width, height = store.frame_size(i)
                limit = np.array([width, height, width, height], np.float32)
                boxes = batches.to_frame(table[:, :4], matrix).clip(0, limit)
                found.append(Detections(boxes, table[:, 4].copy(), table[:, 5].astype(np.int64)))
        return found

    def state(self) -> State:
        """A copy of the trainable parameters and the normalisation's mean and variance, float32, by name."""
        own = self.network.state_dict()
        return {name: own[name].detach().cpu().float().contiguous().numpy().copy() for name in self._shapes()}

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over weights. DataError, and no change, unless names and shapes match and every value is finite."""
        checked = check_state(state, self._shapes(), where=f"the state for {self.architecture}")
        own = self.network.state_dict()
        with torch.no_grad():
            for name, array in checked.items():
                own[name].copy_(torch.from_numpy(array))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        trainable = {name for name, p in self.network.named_parameters() if p.requires_grad}
        return {
            name: tuple(tensor.shape)
            for name, tensor in self.network.state_dict().items()
            if name in trainable or name.endswith(("running_mean", "running_var"))
        }

    def _placed(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.to(self.device).contiguous(memory_format=self._memory_format)


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Class names; ConfigError unless there are some, each once."""
    if not class_names or len(set(class_names)) != len(class_names):
        raise ConfigError(f"a detector needs class names, each once; got {list(class_names)}")
    return tuple(class_names)


def some(indices: Sequence[int]) -> Sequence[int]:
    """``indices``; DataError if there are none."""
    if not len(indices):
        raise DataError("no frames to work on: the list of frame numbers is empty")
    return indices


def _optimiser(parameters: Sequence[torch.nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """AdamW; only weight matrices and kernels decay, not biases and normalisation."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.999))


def _schedule(step: int, steps: int) -> float:
    """Share of the learning rate at ``step`` of ``steps``."""
    warm = max(1, round(WARMUP_SHARE * steps))
    cosine = (1 + math.cos(math.pi * step / steps)) / 2
    return min(1.0, (step + 1) / warm) * (FINAL_SHARE + (1 - FINAL_SHARE) * cosine)
