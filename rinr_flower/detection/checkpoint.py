"""A detector as a checkpoint of ultralytics."""

from __future__ import annotations

import io
from pathlib import Path

from rinr_flower.detection.detector import Detector
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.yolo import Yolo
from rinr_flower.errors import ConfigError
from rinr_flower.files import write_file


def write_checkpoint(path: Path, detector: Detector) -> None:
    """Write ``detector`` to ``path`` as ultralytics saves it, in half precision.

    Raises
    ------
    ConfigError
        If the detector is not ultralytics'.
    DataError
        If the file cannot be written.
    """
    if not isinstance(detector, Yolo):
        raise ConfigError(f"{path}: the detector is not ultralytics'; give a file that ends in .npz (named arrays)")
    file = detector.architecture
    model = ultralytics("models").YOLO(file if file.endswith((".yaml", ".yml")) else f"{file}.yaml", task="detect")
    model.model = detector.network
    content = io.BytesIO()
    model.save(content)
    write_file(path, content.getvalue())
