"""Rendered batches in the form in which ultralytics' trainer and validator take theirs from a data loader."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding.augment import Augmentation, Batch
from rinr_flower.detection import batches
from rinr_flower.detection.payload_folder import Frames


def _ahead(made: Iterable[Callable[[], dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield the result of each callable in order; a thread computes the next one meanwhile."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        waiting: Future[dict[str, Any]] | None = None
        for make in made:
            done, waiting = waiting, pool.submit(make)
            if done is not None:
                yield done.result()
        if waiting is not None:
            yield waiting.result()


class RenderedFrames:
    """Frames and labels, as ultralytics reads them from a data set to plot labels and count objects.

    Parameters
    ----------
    frames : what to show.
    class_names : of the detector; one name takes all classes.
    augmentation : how training changes the frames; None shows them letterboxed.
    """

    def __init__(self, frames: Frames, class_names: Sequence[str], augmentation: Augmentation | None) -> None:
        self.frames = frames
        self.class_names = tuple(class_names)
        self.augmentation = augmentation
        self.im_files = [f"{name}.png" for name in frames.names]
        self.labels = [self._label(i, file) for i, file in zip(frames.indices, self.im_files, strict=True)]

    def __len__(self) -> int:
        return len(self.frames.indices)

    def boxes(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Boxes and classes of frame ``index`` of the store."""
        if len(self.class_names) == 1:
            boxes, classes = self.frames.store.labels(index)
            return boxes, np.zeros_like(classes)
        return batches.labels(self.frames.store, index, self.class_names)

    def close_mosaic(self, hyp: Any) -> None:
        """Ultralytics calls this for the last epochs: train on with ``hyp``, but without mosaic."""
        self.augmentation = Augmentation.from_settings({**vars(hyp), "mosaic": 0.0})

    def _label(self, index: int, file: str) -> dict[str, Any]:
        width, height = self.frames.store.frame_size(index)
        boxes, classes = self.boxes(index)
        share = batches.centred(boxes) / np.array([width, height] * 2, np.float32)
        return {
            "im_file": file,
            "shape": (height, width),
            "cls": classes[:, None].astype(np.float32),
            "bboxes": share.astype(np.float32),
            "normalized": True,
            "bbox_format": "xywh",
        }


class RenderedBatches:
    """Ultralytics' data loader: batches rendered on the store's device when they are asked for, on a CPU one ahead.

    Parameters
    ----------
    dataset : what to show.
    batch_size : frames a batch; the last batch of an epoch may be smaller.
    size : longer side of the input in px.
    seed, epoch : an epoch's order and augmentation follow from ``(seed, epoch())``, so that a resumed training goes on
        as the interrupted one would have.
    """

    num_workers = 0
    drop_last = False

    def __init__(
        self, dataset: RenderedFrames, batch_size: int, size: int, *, seed: int, epoch: Callable[[], int]
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.sampler = range(len(dataset))
        self._size = size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.dataset) / self.batch_size)

    def reset(self) -> None:
        """No batch outlives its epoch, so there is nothing to throw away."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        frames = self.dataset.frames
        generator = np.random.default_rng((self._seed, self._epoch()))
        order = np.arange(len(frames.indices))
        if self.dataset.augmentation is not None:
            order = generator.permutation(order)
        rows = [order[start : start + self.batch_size].tolist() for start in range(0, len(order), self.batch_size)]
        made = (partial(self._batch, chosen, generator) for chosen in rows)
        return _ahead(made) if frames.store.device.type == "cpu" else (make() for make in made)

    def _batch(self, rows: Sequence[int], generator: np.random.Generator) -> dict[str, Any]:
        """Training pictures are 0..1; validation pictures 0..255, as ultralytics' validator divides them itself."""
        dataset, frames = self.dataset, self.dataset.frames
        chosen = [frames.indices[row] for row in rows]
        padding: list[Any]
        if dataset.augmentation is not None:
            square = (self._size, self._size)
            made = dataset.augmentation.batch(frames.store, chosen, frames.indices, square, dataset.boxes, generator)
            padding = [None] * len(rows)
        else:
            shape = batches.input_size([frames.store.frame_size(i) for i in frames.indices], self._size)
            matrices = [batches.letterbox(frames.store.frame_size(i), shape) for i in chosen]
            matrix = torch.tensor(np.stack(matrices), dtype=torch.float32)
            pictures = frames.store.render(chosen, shape, matrix=matrix) * 255
            found = [dataset.boxes(i) for i in chosen]
            placed = tuple(batches.to_picture(b, m) for (b, _), m in zip(found, matrices, strict=True))
            made = Batch(pictures, placed, tuple(c for _, c in found))
            padding = [((1 / m[0, 0],) * 2, (-m[0, 2] / m[0, 0], -m[1, 2] / m[0, 0])) for m in matrices]
        sizes = [frames.store.frame_size(i) for i in chosen]
        return {
            **batches.loss_inputs(made),
            "im_file": [dataset.im_files[row] for row in rows],
            "ori_shape": [(height, width) for width, height in sizes],
            "resized_shape": [tuple(made.pictures.shape[2:])] * len(rows),
            "ratio_pad": padding,
        }
