"""Detectors that learn from rendered batches: YOLOv8 behind a small protocol, and COCO's mean average precision.

ultralytics (AGPL-3.0) is imported only when :class:`YoloV8` or :class:`RinrTrainer` is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rinr_flower.detection.detector import Accuracy, Detections, Detector, State, TrainingLog

if TYPE_CHECKING:
    from rinr_flower.detection.factory import Factory, factory_state
    from rinr_flower.detection.trainer import RinrTrainer
    from rinr_flower.detection.yolov8 import YoloV8

__all__ = [
    "Accuracy",
    "Detections",
    "Detector",
    "Factory",
    "RinrTrainer",
    "State",
    "TrainingLog",
    "YoloV8",
    "factory_state",
]

_LAZY = {"YoloV8": "yolov8", "RinrTrainer": "trainer", "Factory": "factory", "factory_state": "factory"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
