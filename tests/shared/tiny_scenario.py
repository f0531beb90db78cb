"""Keys of the smallest scenario of three devices in which a run does all that it does, and a codec that is quick."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

JPEG = {"name": "jpeg", "quality": 40}
TINY: dict[str, Any] = {
    "num_clients": 3,
    "rounds": 2,
    "data": "sample:sequences=3,frames=8,width=128,height=96",
    "frames_per_clip": 2,
    "holdout": 2,
    "weights": "scratch",
    "image_size": 64,
    "steps": 1,
    "batch": 4,
    "rivals": [],
}


def options_of(scenario: Mapping[str, Any]) -> list[str]:
    """Scenario keys as options of ``flower-simulation``."""
    return [f"--set={key}={json.dumps(value)}" for key, value in scenario.items()]
