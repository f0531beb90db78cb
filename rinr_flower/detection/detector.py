"""The protocol of detectors, which fog node and devices use whatever library a detector comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rinr_flower.decoding import FrameStore

State = dict[str, NDArray[np.float32]]
"""A detector's weights by name: trainable parameters and normalisation statistics, float32."""


@dataclass(frozen=True)
class TrainingLog:
    """What one call of ``fit`` did.

    Attributes
    ----------
    seconds_rendering : time spent making batches: decoding, resizing, augmenting.
    seconds_training : time spent in the network: forward, backward, optimiser, statistics.
    losses : the loss per image of every step, in order.
    """

    seconds_rendering: float
    seconds_training: float
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Accuracy:
    """Mean average precision by the COCO definition, 0..1; NaN where no frame holds a box.

    Attributes
    ----------
    map50 : at an intersection over union of 0.5.
    map50_95 : averaged over 0.50, 0.55, ..., 0.95.
    images, boxes : how many frames and labelled boxes were evaluated.
    """

    map50: float
    map50_95: float
    images: int
    boxes: int


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one frame, best score first.

    Attributes
    ----------
    boxes : float32 (n, 4): x1, y1, x2, y2 in the frame's own pixels.
    scores : float32 (n,): confidence, 0..1.
    classes : int64 (n,): index into the detector's ``class_names``.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


class Detector(Protocol):
    """A detector that learns from a FrameStore. Frames' classes are matched to the detector's by name."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the detector tells apart, in the order of its class indices."""

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
    ) -> TrainingLog:
        """Train on the frames ``indices`` of ``store`` for ``steps`` batches of ``batch`` frames.

        ``size`` is the longer side of the network's input in pixels, ``blur`` the share of the frames that are blurred
        at random (:mod:`rinr_flower.decoding.blur`), ``proximal_mu`` the weight of FedProx's term
        (:mod:`rinr_flower.detection.proximal`). The same arguments on the same machine, at the
        same thread count, end in the same weights bit by bit on a CPU.
        """

    def evaluate(self, store: FrameStore, indices: Sequence[int], *, size: int = 160) -> Accuracy:
        """Accuracy on the frames ``indices``; the detector is left as it was."""

    def predict(
        self, store: FrameStore, indices: Sequence[int], *, size: int = 160, confidence: float = 0.25
    ) -> list[Detections]:
        """What is seen in each of the frames ``indices``, at least as sure as ``confidence``."""

    def state(self) -> State:
        """A copy of the weights, in a fixed order of names."""

    def load_state(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over weights. DataError, and no change, unless names and shapes match and every value is finite."""
