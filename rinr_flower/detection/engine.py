"""The one door to ultralytics: silent, local, and private to the process.

What the package does on import and in use is governed by environment variables that must stand before the import. Its
settings file is written without a lock, so every process gets its own folder, removed when the process ends.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
import torch  # noqa: F401 - must be loaded before ultralytics sets OMP_NUM_THREADS

from rinr_flower.errors import ConfigError

logger = logging.getLogger(__name__)

_FIXED = {
    "YOLO_OFFLINE": "1",  # no usage reports; weights that a user names are still downloaded
    "YOLO_AUTOINSTALL": "0",
    "YOLO_VERBOSE": "0",
    "ULTRALYTICS_SAFE_LOAD": "1",  # checkpoints are data, never code
}


def ultralytics(module: str) -> ModuleType:
    """Import ``ultralytics.<module>``.

    The settings folder is the user's if YOLO_CONFIG_DIR names one. What the import changes for the whole process
    (OMP_NUM_THREADS, which child processes inherit, and numpy's print options) is put back.
    """
    _prepare()
    threads, printing = os.environ.get("OMP_NUM_THREADS"), np.get_printoptions()
    try:
        return importlib.import_module(f"ultralytics.{module}")
    except ModuleNotFoundError as error:
        if error.name != "ultralytics":
            raise
        raise ConfigError("YOLOv8 needs ultralytics: pip install ultralytics-opencv-headless") from error
    finally:
        np.set_printoptions(**printing)
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)


def _prepare() -> None:
    os.environ.update(_FIXED)
    folder = os.path.basename(os.environ.get("YOLO_CONFIG_DIR", ""))
    mine = f"rinr-yolo-{os.getpid()}-"
    if not folder or (folder.startswith("rinr-yolo-") and not folder.startswith(mine)):  # none, or a parent's
        private = tempfile.mkdtemp(prefix=mine)
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        os.environ["YOLO_CONFIG_DIR"] = private


@contextmanager
def torchvision_or_stand_in() -> Iterator[None]:
    """For ultralytics' own validator, which imports torchvision for its non-maximum suppression.

    The torchvision of the package index is built for a CUDA torch and cannot be imported beside a CPU one. Then
    ultralytics' own suppression, of which its authors say that it gives the same result, stands in under that name.
    """
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError) as error:
        logger.info("torchvision cannot be imported (%s); suppression is ultralytics' own", error)
        stand_in = ModuleType("torchvision")
        stand_in.ops = ModuleType("torchvision.ops")  # type: ignore[attr-defined]
        stand_in.ops.nms = ultralytics("utils.nms").TorchNMS.nms
        sys.modules["torchvision"] = stand_in
        try:
            yield
        finally:
            del sys.modules["torchvision"]
    else:
        yield
