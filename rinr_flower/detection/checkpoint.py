"""A detector as a checkpoint of ultralytics."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from rinr_flower.detection.detector import Detector
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.yolo import Yolo
from rinr_flower.errors import ConfigError, DataError


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
    temporary = path.with_name(f"{path.stem}.{secrets.token_hex(4)}.part.pt")  # ultralytics appends .pt to others
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch raises a RuntimeError where a file cannot be opened or written
        raise DataError(f"{path} cannot be written: {' '.join(str(error).split())}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
