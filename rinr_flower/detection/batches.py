"""Frames of a store as batches for a detector: letterboxed straight from the payloads, boxes alongside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import STRIDE, Batch
from rinr_flower.errors import ConfigError, DataError


def input_size(frame_sizes: Sequence[tuple[int, int]], size: int) -> tuple[int, int]:
    """(height, width) of a network input whose longer side is ``size`` and that every frame (width, height) fits in.

    The shorter side is as short as the frames allow, so that little of the input is padding. Both are multiples of
    STRIDE.
    """
    if size < STRIDE or size % STRIDE:
        raise ConfigError(f"an input size of {size} px; YOLOv8 needs a multiple of {STRIDE}, at least {STRIDE}")
    widest = max(w / max(w, h) for w, h in frame_sizes)
    tallest = max(h / max(w, h) for w, h in frame_sizes)
    return _up(size * tallest), _up(size * widest)


def _up(length: float) -> int:
    return max(1, math.ceil(length / STRIDE - 1e-6)) * STRIDE


def letterbox(frame_size: tuple[int, int], size: tuple[int, int]) -> NDArray[np.float64]:
    """3x3 matrix from output pixels (height, width = ``size``) to pixels of a frame (width, height), centred."""
    scale = max(frame_size[0] / size[1], frame_size[1] / size[0])
    left, top = (frame_size[0] - size[1] * scale) / 2, (frame_size[1] - size[0] * scale) / 2
    return np.array([[scale, 0, left], [0, scale, top], [0, 0, 1]])


def labels(store: FrameStore, index: int, class_names: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A frame's boxes in its own pixels and their classes as indices into ``class_names``.

    Raises DataError if the frame has a box of a class that ``class_names`` lacks.
    """
    boxes, classes = store.labels(index)
    names = store.class_names(index)
    unknown = sorted({names[c] for c in classes} - set(class_names))
    if unknown:
        raise DataError(
            f"frame {index} has a box of class {unknown[0]!r}; the detector knows {', '.join(class_names)}: "
            "give it the class names of all clips"
        )
    return boxes, np.array([class_names.index(names[c]) for c in classes], np.int64)


def to_picture(boxes: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Boxes (n, 4) of a frame in the picture that a letterbox ``matrix`` (output to frame) gives."""
    return np.asarray((boxes - matrix[[0, 1, 0, 1], 2]) / matrix[0, 0], np.float32)


def to_frame(boxes: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """The inverse of :func:`to_picture`."""
    return np.asarray(boxes * matrix[0, 0] + matrix[[0, 1, 0, 1], 2], np.float32)


def letterboxed(store: FrameStore, indices: Sequence[int], size: tuple[int, int], class_names: Sequence[str]) -> Batch:
    """The frames ``indices`` rendered straight at ``size`` = (height, width), grey where they do not fill it."""
    matrices = [letterbox(store.frame_size(i), size) for i in indices]
    found = [labels(store, i, class_names) for i in indices]
    pictures = store.render(indices, size, matrix=torch.tensor(np.stack(matrices), dtype=torch.float32))
    boxes = tuple(to_picture(b, m) for (b, _), m in zip(found, matrices, strict=True))
    return Batch(pictures, boxes, tuple(c for _, c in found))


def centred(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes x1 y1 x2 y2 as x and y of the centre, width and height."""
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def loss_inputs(made: Batch) -> dict[str, torch.Tensor]:
    """The batch as ultralytics' loss reads it: box centres and sizes as shares of the picture, each with its owner."""
    height, width = made.pictures.shape[2:]
    share = centred(np.concatenate(made.boxes).reshape(-1, 4)) / np.array([width, height, width, height])
    owner = np.repeat(np.arange(len(made.boxes)), [len(b) for b in made.boxes])
    return {
        "img": made.pictures,
        "batch_idx": torch.tensor(owner, dtype=torch.float32),
        "cls": torch.tensor(np.concatenate(made.classes), dtype=torch.float32)[:, None],
        "bboxes": torch.tensor(share, dtype=torch.float32),
    }


def shuffled(indices: Sequence[int], batch: int, generator: np.random.Generator) -> Iterator[list[int]]:
    """Batches without end: the frames in a new random order each time all were used."""
    waiting: list[int] = []
    while True:
        while len(waiting) < batch:
            waiting += generator.permutation(np.asarray(indices)).tolist()
        yield waiting[:batch]
        waiting = waiting[batch:]
