"""Detectors that learn from rendered batches, behind a small protocol, and COCO's mean average precision.

ultralytics (AGPL-3.0) is imported only when a :class:`Yolo` or :class:`RinrTrainer` is made, torchvision only when a
``torchvision`` detector is.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rinr_flower.detection.architecture import Architecture, architecture, detectors
from rinr_flower.detection.detector import Accuracy, Detections, Detector, State, TrainingLog
from rinr_flower.detection.factory import Factory, factory_state
from rinr_flower.detection.torchvision_detector import TorchvisionDetector
from rinr_flower.detection.yolo import Yolo

if TYPE_CHECKING:
    from rinr_flower.detection.trainer import RinrTrainer

__all__ = [
    "Accuracy",
    "Architecture",
    "Detections",
    "Detector",
    "Factory",
    "RinrTrainer",
    "State",
    "TorchvisionDetector",
    "TrainingLog",
    "Yolo",
    "architecture",
    "detectors",
    "factory_state",
]


def __getattr__(name: str) -> Any:
    if name != "RinrTrainer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.trainer").RinrTrainer  # derives from a class of ultralytics
