"""Detectors of torchvision (BSD-3-Clause), for those who cannot take ultralytics' licence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.decoding.augment import Batch
from rinr_flower.detection.architecture import Architecture, detectors
from rinr_flower.detection.detector import State
from rinr_flower.detection.network_detector import NetworkDetector, checked_names
from rinr_flower.detection.state import read_state
from rinr_flower.errors import ConfigError, DataError

LIMIT = 300  # boxes a picture


class TorchvisionDetector(NetworkDetector):
    """A detection model of torchvision as a :class:`rinr_flower.detection.detector.Detector`.

    Parameters
    ----------
    class_names : what to tell apart; class 0 of the network is the background.
    model : name of a detection model of torchvision, such as ``ssdlite320_mobilenet_v3_large``.
    weights : None (random), a state, or the path of an ``.npz`` of named arrays. Entries that do not fit stay random.
    device : where the network runs.
    seed : of the random weights.

    Raises
    ------
    ConfigError
        If torchvision cannot be imported, or has no such model.
    """

    def __init__(
        self,
        class_names: Sequence[str] = ("object",),
        *,
        model: str = "ssdlite320_mobilenet_v3_large",
        weights: str | Path | State | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        names = checked_names(class_names)
        network = _network(model, len(names) + 1, seed)
        if weights is not None:
            _load_fitting(network, weights)
        super().__init__(network, names, device=device, architecture=model)

    def _loss(self, steps: int) -> Callable[[Batch], torch.Tensor]:
        return self._batch_loss

    def _forward(self, made: Batch) -> None:
        self._batch_loss(made)

    def _batch_loss(self, made: Batch) -> torch.Tensor:
        targets = [
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32, device=self.device).reshape(-1, 4),
                "labels": torch.tensor(classes, dtype=torch.int64, device=self.device) + 1,
            }
            for boxes, classes in zip(made.boxes, made.classes, strict=True)
        ]
        losses: dict[str, torch.Tensor] = self.network(self._listed(self._placed(made.pictures)), targets)
        return torch.stack(list(losses.values())).sum() * len(targets)

    def _detect(self, pictures: torch.Tensor, confidence: float) -> list[NDArray[np.float32]]:
        found = []
        for rows in self.network(self._listed(pictures)):
            sure = rows["scores"] > confidence
            columns = [rows["boxes"][sure], rows["scores"][sure, None], rows["labels"][sure, None] - 1.0]
            found.append(torch.cat(columns, 1)[:LIMIT].float().cpu().numpy())
        return found

    def _listed(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Pictures as torchvision takes them, which is not to resize them where the model has no size of its own."""
        if self.network.transform.fixed_size is None:
            self.network.transform.min_size = (min(pictures.shape[2:]),)
            self.network.transform.max_size = max(pictures.shape[2:])
        return list(pictures)


def _network(model: str, classes: int, seed: int) -> Any:
    try:
        models = import_module("torchvision.models")
    except (ImportError, RuntimeError, OSError) as error:
        raise ConfigError(
            f"the detector 'torchvision' needs a torchvision that fits the installed torch ({error}); install both "
            "from one index, for example: pip install torch torchvision"
        ) from error
    known = models.list_models(module=models.detection)
    if model not in known:
        raise ConfigError(f"torchvision has no detection model {model!r}; known: {', '.join(known)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.get_model(model, weights=None, weights_backbone=None, num_classes=classes)


def _load_fitting(network: torch.nn.Module, weights: str | Path | State) -> None:
    """Take over the entries whose names and shapes fit; DataError if none does."""
    if not isinstance(weights, dict) and Path(weights).suffix != ".npz":
        raise ConfigError(f"weights {str(weights)!r}: give an .npz file of named arrays")
    state = weights if isinstance(weights, dict) else read_state(Path(weights))
    own = network.state_dict()
    fitting = {n: torch.from_numpy(a) for n, a in state.items() if n in own and own[n].shape == a.shape}
    if not fitting:
        raise DataError(f"none of the {len(state)} weights fits; are they of another model?")
    network.load_state_dict({**own, **fitting})


@detectors.register("torchvision")
@dataclass(frozen=True)
class Torchvision(Architecture):
    """A detection model of torchvision (BSD-3-Clause).

    Attributes
    ----------
    model : its name, see :class:`TorchvisionDetector`.
    """

    model: str = "ssdlite320_mobilenet_v3_large"

    def build(
        self,
        class_names: Sequence[str],
        *,
        weights: str | Path | State | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        downloads: Path = Path(),
    ) -> TorchvisionDetector:
        return TorchvisionDetector(class_names, model=self.model, weights=weights, device=device, seed=seed)
