"""Weights that somebody else trained: ultralytics checkpoints and files of named arrays, loaded as data only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from rinr_flower.detection.detector import State
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.state import read_state
from rinr_flower.errors import ConfigError, DataError


def fitting_weights(
    source: str | Path | State, own: Mapping[str, torch.Tensor], *, downloads: Path
) -> dict[str, torch.Tensor]:
    """The entries of ``source`` whose name and shape are those of ``own`` (a network's ``state_dict``).

    Parameters
    ----------
    source : named arrays, path of an ultralytics ``.pt`` or of an ``.npz`` of named arrays, or the name of a checkpoint
        that ultralytics publishes.
    own : what to fit.
    downloads : where a checkpoint given by name is looked for and downloaded to.

    Raises ConfigError if the file is not there and cannot be downloaded, and DataError if it is not a checkpoint, holds
    anything but data, or fits in nothing.
    """
    label = "the given state" if isinstance(source, dict) else str(source)
    found = _entries(source, downloads)
    fitting = {n: t.float() for n, t in found.items() if n in own and t.shape == own[n].shape}
    if not any(name.endswith(".weight") for name in fitting):
        raise DataError(f"{label}: none of its {len(found)} entries fits; is it another model or scale?")
    if not all(torch.isfinite(t).all() for t in fitting.values()):
        raise DataError(f"{label} holds values that are not finite numbers")
    return fitting


def _entries(source: str | Path | State, downloads: Path) -> dict[str, torch.Tensor]:
    if isinstance(source, dict):
        return {name: torch.from_numpy(array) for name, array in source.items()}
    path = Path(source)
    if path.suffix == ".pt":
        return _checkpoint(path, downloads)
    if path.suffix != ".npz":
        raise ConfigError(f"weights {str(source)!r}: give a .pt or .npz file, or a name such as yolov8n.pt")
    if not path.is_file():
        raise ConfigError(f"no weights at {path}")
    return {name: torch.from_numpy(array) for name, array in read_state(path).items()}


def _checkpoint(path: Path, downloads: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        if path.name != str(path):
            raise ConfigError(f"no weights at {path}")
        path = downloads / path.name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            ultralytics("utils.downloads").attempt_download_asset(path)
        except Exception as error:  # requests, urllib, curl: each its own
            raise ConfigError(f"{path.name} is not in {path.parent} and could not be downloaded: {error}") from error
        if not path.is_file():
            raise ConfigError(f"{path.name} is not in {path.parent}, and ultralytics publishes no file of that name")
    try:
        content, _ = ultralytics("nn.tasks").torch_safe_load(path, safe_only=True)
        return dict((content.get("ema") or content["model"]).state_dict())
    except Exception as error:  # unpickling refuses in as many ways as there are bad files
        raise DataError(f"{path}: not an ultralytics checkpoint that can be loaded safely: {error}") from error
