"""Our mean average precision is pycocotools', on the same predictions."""

import contextlib
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rinr_flower.detection.average_precision import Truth, mean_average_precision
from rinr_flower.detection.detector import Detections


def coco_map(detections: list[Detections], truths: list[Truth], classes: int) -> tuple[float, float]:
    annotations, results = [], []
    for image, (boxes, labels) in enumerate(truths):
        for (x1, y1, x2, y2), label in zip(boxes.astype(np.float64).tolist(), labels.tolist(), strict=True):
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": image, "category_id": label, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
    for image, found in enumerate(detections):
        rows = zip(found.boxes.astype(np.float64).tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
        for (x1, y1, x2, y2), score, label in rows:
            results.append(
                {"image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truths))],
            "categories": [{"id": c} for c in range(classes)],
            "annotations": annotations,
        }
        truth.createIndex()
        if not results:
            return (0.0, 0.0) if annotations else (math.nan, math.nan)
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    mean, half = float(evaluation.stats[0]), float(evaluation.stats[1])
    return (math.nan, math.nan) if mean < 0 else (half, mean)


def random_case(seed: int) -> tuple[list[Detections], list[Truth], int]:
    """Boxes near the labels and elsewhere, doubled scores, empty images, absent classes, more than 100 detections."""
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(1, 5))
    detections, truths = [], []
    for _ in range(int(rng.integers(1, 12))):
        count = int(rng.integers(0, 6))
        corner, side = rng.uniform(0, 200, (count, 2)), rng.uniform(2, 80, (count, 2))
        boxes = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
        labels = rng.integers(0, max(1, classes - 1), count)
        if count and rng.random() < 0.3:  # the same box labelled twice
            boxes, labels = np.repeat(boxes, 2, axis=0), np.repeat(labels, 2)
        truths.append((boxes, labels))
        near = np.repeat(boxes, int(rng.integers(0, 4)), axis=0)
        near = near + rng.normal(0, rng.choice([0, 1, 8]), near.shape)
        extra = int(rng.choice([0, 3, 150]))
        start = rng.uniform(0, 200, (extra, 2))
        far = np.concatenate([start, start + rng.uniform(2, 80, (extra, 2))], axis=1)
        found = np.concatenate([near, far]).astype(np.float32).reshape(-1, 4)
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 0.5)
        scores = rng.random(len(found)).astype(np.float32)
        if rng.random() < 0.5:
            scores = np.round(scores, 1)  # ties
        guess = rng.integers(0, classes, len(found))
        guess[: len(near)] = np.where(rng.random(len(near)) < 0.8, np.resize(labels, len(near)), guess[: len(near)])
        order = np.argsort(-scores, kind="stable")
        detections.append(Detections(found[order], scores[order], guess[order]))
    return detections, truths, classes


@pytest.mark.parametrize("seed", range(40))
def test_equals_pycocotools_on_random_predictions(seed: int) -> None:
    detections, truths, classes = random_case(seed)
    np.testing.assert_allclose(
        mean_average_precision(detections, truths), coco_map(detections, truths, classes), atol=1e-6
    )


def found(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.int64)
    )


def truth(boxes: list[list[float]], classes: list[int]) -> Truth:
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


BOX, OTHER = [10.0, 10.0, 50.0, 40.0], [100.0, 100.0, 130.0, 140.0]


@pytest.mark.parametrize(
    ("detections", "truths", "expected"),
    [
        ([found([BOX], [0.9], [0])], [truth([BOX], [0])], (1.0, 1.0)),
        ([found([], [], [])], [truth([BOX], [0])], (0.0, 0.0)),
        ([found([BOX], [0.9], [0])], [truth([], [])], (math.nan, math.nan)),
        ([found([], [], [])], [truth([], [])], (math.nan, math.nan)),
        ([found([BOX], [0.9], [1])], [truth([BOX], [0])], (0.0, 0.0)),
        ([found([BOX, BOX], [0.9, 0.8], [0, 0])], [truth([BOX, OTHER], [0, 1])], (0.5, 0.5)),
        ([found([[10, 10, 50, 30]], [0.5], [0])], [truth([[10, 10, 50, 50]], [0])], (1.0, 0.1)),  # IoU exactly 0.5
    ],
)  # fmt: skip
def test_edge_cases(detections: list[Detections], truths: list[Truth], expected: tuple[float, float]) -> None:
    np.testing.assert_allclose(mean_average_precision(detections, truths), expected, atol=1e-9)
    np.testing.assert_allclose(coco_map(detections, truths, 2), expected, atol=1e-6)


def test_no_images_is_not_a_number() -> None:
    assert math.isnan(mean_average_precision([], [])[0])
