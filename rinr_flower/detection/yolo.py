"""YOLO of ultralytics (its network and loss) trained straight on pictures rendered from payloads.

The network, its loss and its non-maximum suppression are ultralytics'.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding.augment import Batch
from rinr_flower.detection import batches
from rinr_flower.detection.architecture import Architecture, detectors
from rinr_flower.detection.detector import State
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.network_detector import NetworkDetector, checked_names
from rinr_flower.detection.weights import fitting_weights
from rinr_flower.errors import ConfigError

logger = logging.getLogger(__name__)

NMS_IOU = 0.7
NMS_UNLIMITED_S = 1e9  # ultralytics returns empty results once its wall-clock limit is over
HEADS = ("Detect", "v10Detect")  # others need masks, keypoints or texts besides boxes, or another loss


class Yolo(NetworkDetector):
    """A detection model of ultralytics as a :class:`rinr_flower.detection.detector.Detector`.

    Parameters
    ----------
    class_names : what to tell apart; with ``model`` it fixes every shape of the network.
    model : name of a detection model of ultralytics, such as ``yolov8n``, ``yolo11s``, ``yolo12m`` or ``yolo26x``, or
        path of a YAML file in ultralytics' format.
    weights : None (random), another detector's state (such as :func:`rinr_flower.detection.factory_state` gives), a
        path to an ultralytics ``.pt`` or to an ``.npz`` of named arrays, or a name that ultralytics would download,
        such as ``yolov8m.pt``. What does not fit the architecture (the class branch of a model with other classes)
        stays random.
    device : where the network runs.
    seed : of the random weights.
    downloads : folder that weights given by name are looked for in and downloaded to.
    mixed_precision : of training; None is on for CUDA only.
    """

    def __init__(
        self,
        class_names: Sequence[str] = ("object",),
        *,
        model: str = "yolov8n",
        weights: str | Path | State | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        downloads: Path = Path(),
        mixed_precision: bool | None = None,
    ) -> None:
        names = checked_names(class_names)
        network = _network(model, len(names), seed)
        network.args = ultralytics("cfg").get_cfg()  # the loss reads its gains from here
        network.names = dict(enumerate(names))
        if weights is not None:
            own = network.state_dict()
            fitting = fitting_weights(weights, own, downloads=downloads)
            network.load_state_dict({**own, **fitting})
            logger.info("weights: %d of %d entries fit %s", len(fitting), len(own), model)
        super().__init__(network, names, device=device, architecture=model, mixed_precision=mixed_precision)

    def _loss(self, steps: int) -> Callable[[Batch], torch.Tensor]:
        self.network.args.epochs = steps  # over which the loss of YOLO26 moves from one branch to the other
        criterion = self.network.init_criterion()

        def loss(made: Batch) -> torch.Tensor:
            inputs = {name: tensor.to(self.device) for name, tensor in batches.loss_inputs(made).items()}
            pictures = self._placed(made.pictures)
            value: torch.Tensor = criterion(self.network(pictures), {**inputs, "img": pictures})[0].sum()
            if hasattr(criterion, "update"):
                criterion.update()
            return value

        return loss

    def _forward(self, made: Batch) -> None:
        self.network(self._placed(made.pictures))

    def _detect(self, pictures: torch.Tensor, confidence: float) -> list[NDArray[np.float32]]:
        found = ultralytics("utils.nms").non_max_suppression(
            self.network(pictures)[0],
            confidence,
            NMS_IOU,
            multi_label=True,
            max_det=300,
            nc=len(self._class_names),
            max_time_img=NMS_UNLIMITED_S,
            end2end=self.network.end2end,
        )
        return [rows.float().cpu().numpy() for rows in found]


def _network(model: str, classes: int, seed: int) -> Any:
    """ultralytics' network with random weights; ConfigError if it has no detection model of that name."""
    tasks = ultralytics("nn.tasks")
    file = model if model.endswith((".yaml", ".yml")) else f"{model}.yaml"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = tasks.DetectionModel(file, nc=classes, verbose=False)
    except Exception as error:  # of a file that is not there, of YAML, of layers that do not fit, each its own
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"detector model {model!r}: {reason}; give a detection model of ultralytics (yolov8, yolo11, yolo12, "
            "yolo26, each with n, s, m, l or x) or the path of a YAML file"
        ) from error
    head = type(network.model[-1]).__name__
    if head not in HEADS:
        raise ConfigError(f"detector model {model!r} ends in {head}; it must end in {' or '.join(HEADS)}: boxes alone")
    return network


@detectors.register("ultralytics")
@dataclass(frozen=True)
class Ultralytics(Architecture):
    """A detection model of ultralytics (AGPL-3.0).

    Attributes
    ----------
    model : its name or the path of a YAML file, see :class:`Yolo`.
    """

    model: str = "yolov8n"

    def build(
        self,
        class_names: Sequence[str],
        *,
        weights: str | Path | State | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        downloads: Path = Path(),
    ) -> Yolo:
        return Yolo(class_names, model=self.model, weights=weights, device=device, seed=seed, downloads=downloads)
