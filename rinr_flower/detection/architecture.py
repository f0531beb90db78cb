"""The registry of detectors: a name and options to a detector that learns.

Another distribution adds one by an entry point in the group ``rinr_flower.detectors``, as for codecs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rinr_flower.detection.detector import Detector, State
from rinr_flower.registry import Registry

if TYPE_CHECKING:
    import torch


class Architecture(ABC):
    """Builds detectors. A frozen dataclass, whose fields are its options."""

    name: ClassVar[str]

    @abstractmethod
    def build(
        self,
        class_names: Sequence[str],
        *,
        weights: str | Path | State | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        downloads: Path = Path(),
    ) -> Detector:
        """A new detector.

        Parameters
        ----------
        class_names : what to tell apart.
        weights : None for random ones that ``seed`` gives, a state, or a file or name of weights.
        device : where it runs.
        downloads : folder that weights given by name are looked for in and downloaded to.

        Raises
        ------
        ConfigError
            If the architecture or the weights are not known, or a library is not installed.
        """


detectors: Registry[Architecture] = Registry("detector", "rinr_flower.detectors")


def architecture(spec: str | Mapping[str, Any] | Architecture) -> Architecture:
    """An architecture from a registered name, a mapping with ``name`` and options, or a model's name of ultralytics.

    ``"torchvision"``, ``{"name": "ultralytics", "model": "my.yaml"}`` and ``"yolo11s"`` are three specifications.

    Raises
    ------
    ConfigError
        If a mapping's name or options are not known. A model's name is checked when it is built.
    """
    if isinstance(spec, Architecture):
        return spec
    if isinstance(spec, str) and spec not in detectors.names():
        return detectors.create("ultralytics", model=spec)
    return detectors.create(spec)
