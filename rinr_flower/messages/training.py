"""How a detector is trained: settings that travel with the fog's messages."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Architecture, Detector, TrainingLog, architecture
from rinr_flower.errors import ConfigError
from rinr_flower.messages.common_model import options_of

CLASS_NAMES = "class-names"


@dataclass(frozen=True)
class Training:
    """How a detector is trained in a round, on a device or at the fog; the fog sends it with every message.

    Attributes
    ----------
    class_names : what the detector tells apart.
    detector : architecture, as name or mapping, see :func:`rinr_flower.detection.architecture`.
    image_size : longer side in pixels of the detector's input.
    steps, batch : training steps of a round and frames of a step.
    learning_rate : of the optimiser.
    blur : share of the frames that training blurs, see :mod:`rinr_flower.decoding.blur`.
    proximal_mu : weight of FedProx's proximal term; Flower's ``FedProx`` sends it.
    seed : of the first weights, if the fog sends none, and of the order of the batches.
    """

    class_names: tuple[str, ...] = ("object",)
    detector: str | Mapping[str, Any] | Architecture = "yolov8n"
    image_size: int = 160
    steps: int = 40
    batch: int = 8
    learning_rate: float = 1e-3
    blur: float = 0.0
    proximal_mu: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """ConfigError for a value that no training can use."""
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name), field.default))
        for name, good, wanted in (
            ("image_size", self.image_size >= 1, "at least 1"),
            ("steps", self.steps >= 1, "at least 1"),
            ("batch", self.batch >= 1, "at least 1"),
            ("learning_rate", 0 < self.learning_rate < math.inf, "a positive number"),
            ("blur", 0 <= self.blur <= 1, "a share, 0..1"),
            ("proximal_mu", 0 <= self.proximal_mu < math.inf, "0 or a positive number"),
        ):
            if not good:
                raise _wrong(name, getattr(self, name), wanted)

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Training:
        """From the ConfigRecord of a message; ConfigError names a bad value. Keys are the field names with dashes.

        A key that is missing takes its default; other keys are not looked at.
        """
        keys = {field.name: field.name.replace("_", "-") for field in dataclasses.fields(cls)}
        values = {name: config[key] for name, key in keys.items() if key in config}
        if str(named := values.get("detector", "")).startswith("{"):
            values["detector"] = _mapping(named)
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """For a ConfigRecord; ConfigError if ``detector`` is an object."""
        if isinstance(self.detector, Architecture):
            raise ConfigError(
                f"'detector' of a training is {self.detector!r}; an architecture object does not travel: give its name "
                "or mapping, and the object as client_app(detector=...)"
            )
        values = {field.name.replace("_", "-"): getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            key: list(value) if isinstance(value, tuple) else json.dumps(value) if isinstance(value, Mapping) else value
            for key, value in values.items()
        }

    def describe(self) -> dict[str, Any]:
        """The detector in JSON values: ``class_names``, and ``architecture`` as a mapping.

        ``architecture`` is left out where its options are no JSON values.
        """
        found: dict[str, Any] = {"class_names": list(self.class_names)}
        with suppress(TypeError, ValueError, AttributeError):  # no dataclass, no JSON, or not registered
            found["architecture"] = json.loads(json.dumps(options_of(architecture(self.detector))))
        return found

    def build(self, device: torch.device | str = "cpu") -> Detector:
        """A new detector with the first weights that ``seed`` gives."""
        return architecture(self.detector).build(self.class_names, device=device, seed=self.seed)

    def fit(
        self,
        detector: Detector,
        store: FrameStore,
        *,
        seed: int,
        rate: float = 1.0,
        progress: Callable[[float], None] | None = None,
    ) -> TrainingLog:
        """Train ``detector`` on all frames of ``store``.

        ``seed`` is added to that of the settings, and ``rate`` is the learning rate in units of theirs.
        """
        return detector.fit(
            store,
            range(len(store)),
            steps=self.steps,
            batch=self.batch,
            size=self.image_size,
            seed=self.seed + seed,
            learning_rate=self.learning_rate * rate,
            blur=self.blur,
            proximal_mu=self.proximal_mu,
            progress=progress,
        )


def _checked(name: str, value: Any, like: object) -> Any:
    """``value`` as the type of the default ``like``."""
    if name == "detector":
        if not isinstance(value, str | Mapping | Architecture):
            raise _wrong(name, value, "a name or a mapping")
        return value
    if isinstance(like, tuple):
        if not isinstance(value, list | tuple) or not value or not all(isinstance(item, str) for item in value):
            raise _wrong(name, value, "a list of texts")
        return tuple(value)
    if isinstance(value, bool) or not isinstance(value, int if isinstance(like, int) else int | float):
        raise _wrong(name, value, "a whole number" if isinstance(like, int) else "a number")
    return float(value) if isinstance(like, float) else value


def _wrong(name: str, value: object, wanted: str) -> ConfigError:
    return ConfigError(f"{name.replace('_', '-')!r} of a training is {repr(value)[:40]}; it must be {wanted}")


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"'detector' of the message's config is {text[:80]!r}; it must be a name or a JSON object")
    return found
