"""The factory model: what every device leaves the factory with, so that in the field it fine-tunes.

The sources fine-tune a detector that was pretrained on public images. Offline there is none to download, so one is
trained on generated sequences of other backgrounds and motion than those that the devices capture.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import rinr_flower
from rinr_flower.decoding import FrameStore
from rinr_flower.detection.architecture import architecture
from rinr_flower.detection.detector import State
from rinr_flower.detection.state import read_state, write_state
from rinr_flower.errors import DataError

logger = logging.getLogger(__name__)

_DETERMINED_BY = ("datasets", "detection", "decoding", "frames.py")
_LIBRARIES = ("torch", "ultralytics-opencv-headless", "ultralytics", "numpy", "pillow", "scikit-image")


@dataclass(frozen=True)
class Factory:
    """How the factory model is trained.

    Attributes
    ----------
    data : a data set specification, see :func:`rinr_flower.datasets.load`.
    detector : an architecture, see :func:`rinr_flower.detection.architecture`.
    steps, batch, size : batches of ``batch`` frames, letterboxed to an input whose longer side is ``size`` pixels.
    learning_rate : highest learning rate of AdamW.
    seed : of the data, the random weights and the order of the frames.
    """

    data: str = "sample:family=factory"
    detector: str | Mapping[str, Any] = "yolov8n"
    steps: int = 200
    batch: int = 8
    size: int = 160
    learning_rate: float = 1e-3
    seed: int = 0


def factory_state(
    factory: Factory = Factory(),
    *,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> State:
    """The factory model's weights, for the same architecture with other classes.

    ``cache`` is a folder that trained models are kept in, one file for each combination of settings, library versions,
    device type, thread count and the code that data and training depend on; None trains anew.
    """
    path = None if cache is None else cache / f"factory-{_key(factory, torch.device(device))}.npz"
    if path is not None and path.is_file():
        try:
            return read_state(path)
        except DataError as error:
            logger.warning("%s; training the factory model anew", error)
    from rinr_flower.codecs import codecs
    from rinr_flower.datasets import load

    clips = load(factory.data, seed=factory.seed)
    class_names = tuple(dict.fromkeys(name for clip in clips for name in clip.class_names))
    detector = architecture(factory.detector).build(class_names, device=device, seed=factory.seed)
    store = FrameStore(codecs.create("jpeg").encode_many(clips), device=device)
    log = detector.fit(
        store,
        range(len(store)),
        steps=factory.steps,
        batch=factory.batch,
        size=factory.size,
        seed=factory.seed,
        learning_rate=factory.learning_rate,
        progress=progress,
    )
    logger.info(
        "factory model: %d steps on %d frames of %s, loss %.2f -> %.2f",
        factory.steps,
        len(store),
        factory.data,
        log.losses[0],
        log.losses[-1],
    )
    state = detector.state()
    if path is not None:
        write_state(path, state)
    return state


def _key(factory: Factory, device: torch.device) -> str:
    """Hash of all that the trained weights depend on."""
    content = {
        "factory": dataclasses.asdict(factory),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    root = Path(rinr_flower.__file__).parent
    for part in _DETERMINED_BY:
        for file in [root / part] if part.endswith(".py") else sorted((root / part).glob("*.py")):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:24]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
