"""A detector as a file that other programs open: ultralytics' checkpoint, or named arrays."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from rinr_flower.detection.detector import Detector
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.state import write_state
from rinr_flower.detection.yolo import Yolo
from rinr_flower.errors import ConfigError, DataError


def write_checkpoint(path: Path, detector: Detector) -> None:
    """Write ``detector`` to ``path``: to a ``.pt`` as ultralytics saves it, in half precision, or to an ``.npz``.

    An ``.npz`` holds the arrays of :meth:`Detector.state`, in float32. ``weights`` of a scenario takes both.

    Raises
    ------
    ConfigError
        If ``path`` ends otherwise, or in ``.pt`` for a detector that is not ultralytics'.
    DataError
        If it cannot be written.
    """
    if path.suffix == ".npz":
        write_state(path, detector.state())
        return
    if path.suffix != ".pt":
        raise ConfigError(f"{path}: give a file that ends in .pt (ultralytics) or .npz (named arrays)")
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
