"""Whether a strategy may go on with what another one kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rinr_flower.errors import ConfigError

if TYPE_CHECKING:
    from rinr_flower.strategies.fog_node import FogNode


def describe(strategy: FogNode) -> dict[str, Any]:
    """What makes the payloads and the model of a run, as JSON values."""
    values = {
        "strategy": type(strategy).__name__,
        "codec": repr(strategy.codec),
        "upload": strategy.upload,
        "inner": type(strategy.inner).__name__,
        "min_devices": strategy.min_devices,
        "seed": strategy.seed,
    }
    compressor = getattr(strategy, "compressor", None)
    return values if compressor is None else {**values, "compressor": repr(compressor)}


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ConfigError that names the first setting in which the strategy differs from the one that was broken off."""
    for key, value in now.items():
        if kept.get(key) != value:
            raise ConfigError(
                f"the run was begun with {key} {kept.get(key)!r}, not {value!r}; give the same settings, or begin a "
                "new run in a new folder"
            )
