"""Mean average precision by the COCO definition, in numpy.

Lin et al., "Microsoft COCO: Common Objects in Context" (ECCV 2014) and its evaluation code: greedy matching by falling
score, 101 recall points, at most 100 detections per image and class, boxes of every size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.detection.detector import Detections

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_POINTS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100

Truth = tuple[NDArray[np.float32], NDArray[np.int64]]
"""The labelled boxes (n, 4) x1 y1 x2 y2 of one image and their classes (n,)."""


def mean_average_precision(detections: Sequence[Detections], truths: Sequence[Truth]) -> tuple[float, float]:
    """(mAP at IoU 0.5, mAP averaged over IoU 0.50:0.05:0.95) of ``detections`` against ``truths``, image by image.

    The mean runs over the classes that have at least one labelled box. Both are NaN if there is none.
    """
    labelled = np.unique(np.concatenate([classes for _, classes in truths])) if truths else np.zeros(0)
    if not len(labelled):
        return math.nan, math.nan
    precision = np.array([_class_precision(detections, truths, int(c)) for c in labelled])
    return float(precision[:, 0].mean()), float(precision.mean())


def _class_precision(
    detections: Sequence[Detections], truths: Sequence[Truth], class_index: int
) -> NDArray[np.float64]:
    """Average precision of one class at each of IOU_THRESHOLDS."""
    scores, hits, positives = [], [], 0
    for found, (boxes, classes) in zip(detections, truths, strict=True):
        mine = found.classes == class_index
        order = np.argsort(-found.scores[mine], kind="stable")[:MAX_DETECTIONS]
        labelled = boxes[classes == class_index]
        positives += len(labelled)
        scores.append(found.scores[mine][order])
        hits.append(_match(found.boxes[mine][order], labelled))
    ranked = np.argsort(-np.concatenate(scores), kind="stable")
    hit = np.concatenate(hits, axis=1)[:, ranked]
    return np.array([_interpolated(row, positives) for row in hit])


def _match(found: NDArray[np.float32], labelled: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which detections (best first) take a labelled box, at each of IOU_THRESHOLDS: (thresholds, detections)."""
    overlap = box_iou(found, labelled)
    hit = np.zeros((len(IOU_THRESHOLDS), len(found)), bool)
    for t, threshold in enumerate(IOU_THRESHOLDS):
        free = np.ones(len(labelled), bool)
        for d in range(len(found)):
            open_overlap = np.where(free, overlap[d], -1.0)
            # of equal overlaps the last labelled box is taken, as the COCO code does
            best = len(labelled) - 1 - int(np.argmax(open_overlap[::-1])) if len(labelled) else -1
            if best >= 0 and open_overlap[best] >= threshold:
                free[best] = False
                hit[t, d] = True
    return hit


def _interpolated(hit: NDArray[np.bool_], positives: int) -> float:
    """Area under the precision envelope at RECALL_POINTS; ``hit`` says which ranked detections are true."""
    true = np.cumsum(hit)
    precision = true / np.maximum(np.arange(1, len(hit) + 1), 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(true / positives, RECALL_POINTS, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(at, len(hit))].mean())


def box_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of every pair of boxes x1 y1 x2 y2: (len(a), len(b)), 0 where they do not meet."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    shared = np.where((sides > 0).all(axis=2), sides.prod(axis=2), 0.0)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(axis=1), (b[:, 2:] - b[:, :2]).prod(axis=1)
    union = area_a[:, None] + area_b[None] - shared
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return overlap
