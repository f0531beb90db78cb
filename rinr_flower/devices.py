"""Select the torch device to compute on."""

from __future__ import annotations

import torch

from rinr_flower.errors import ConfigError


def pick_device(name: str = "auto") -> torch.device:
    """Return the device ``name``; ``auto`` is CUDA, else MPS, else the CPU. ConfigError if it is not available."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(next(kind for kind, there in available.items() if there))
    kind, _, index = name.partition(":")
    there = ", ".join(k for k, v in available.items() if v)
    if not available.get(kind, False) or (index and (kind != "cuda" or not index.isdigit())):
        raise ConfigError(f"device {name!r} is not available here; available: auto, {there}")
    if index and int(index) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r} is not available here; there are {torch.cuda.device_count()} CUDA devices")
    return torch.device(name)
