"""The model that every device starts from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from rinr_flower.detection import State, architecture
from rinr_flower.detection.factory import Factory, factory_state
from rinr_flower.simulations.scenario import Scenario


def cache_folder() -> Path:
    """Where factory models and downloaded weights stay between runs: RINR_CACHE, else the user's cache folder."""
    named = os.environ.get("RINR_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rinr_flower"


def start_model(
    scenario: Scenario,
    class_names: Sequence[str],
    device: torch.device,
    progress: Callable[[float], None] = lambda done: None,
) -> State:
    """Weights for a detector of ``class_names``, as the scenario's ``weights`` says.

    What does not fit the detector (the class branch, where the number of classes differs) stays random.
    """
    progress(0.0)
    fresh = partial(architecture(scenario.detector).build, class_names, device=device, seed=scenario.seed)
    if scenario.weights != "factory":
        weights = None if scenario.weights == "scratch" else scenario.weights
        model = fresh(weights=weights, downloads=cache_folder()).state()
        progress(1.0)
        return model
    factory = Factory(
        detector=scenario.detector, steps=scenario.factory_steps, batch=scenario.batch, size=scenario.image_size
    )
    made = factory_state(factory, cache=cache_folder(), device=device, progress=progress)
    model = fresh(weights=made).state()
    progress(1.0)
    return model
