"""A detector of three numbers that learns in no time, and real devices that train it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from small_clips import small_clip
from wire import Wire

from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Accuracy, Architecture, Detections, Detector, State, TrainingLog
from rinr_flower.detection.state import check_state


class TinyDetector:
    """Follows the protocol ``Detector``; training halves its numbers and adds how many frames it saw."""

    def __init__(self, class_names: Sequence[str], seed: int) -> None:
        self.class_names = tuple(class_names)
        self.numbers = np.random.default_rng(seed).normal(size=3).astype(np.float32)

    def fit(
        self, store: FrameStore, indices: Sequence[int], *, proximal_mu: float = 0.0, **options: Any
    ) -> TrainingLog:
        for index in indices:
            assert set(store.class_names(index)) <= set(self.class_names)
        self.numbers = self.numbers / 2 + np.float32(len(indices))
        return TrainingLog(0.0, 0.0, (float(len(indices)) + proximal_mu,))

    def evaluate(self, store: FrameStore, indices: Sequence[int], *, size: int = 160) -> Accuracy:
        return Accuracy(0.5, 0.25, len(indices), 2)

    def predict(self, store: FrameStore, indices: Sequence[int], **options: Any) -> list[Detections]:
        return []

    def state(self) -> State:
        return {"numbers": self.numbers.copy()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        self.numbers = check_state(state, {"numbers": (3,)}, where="the tiny detector")["numbers"]


@dataclass(frozen=True)
class Tiny(Architecture):
    """Builds a :class:`TinyDetector`."""

    def build(self, class_names: Sequence[str], *, seed: int = 0, **options: Any) -> Detector:
        return TinyDetector(class_names, seed)


def cameras(path: Path, count: int, rounds: int = 3, class_name: str = "cup", **options: Any) -> Wire:
    """Real devices on nodes 10, 11, ...: they capture 1, 2, 4, 7, 11, ... clips in every round."""
    apps = {}
    for number in range(count):
        captures = [
            [small_clip(f"{i} {j}", 100 * number + 10 * i + j, class_name=class_name) for j in range(clips)]
            for i in range(rounds)
            for clips in [1 + number * (number + 1) // 2]
        ]
        rest = small_clip("rest", number, class_name=class_name)
        folder = DeviceFolder.write(path / str(number), f"device-{number}", captures, [rest])
        open_device = _Opened(folder)
        apps[10 + number] = client_app(open_device, **{"detector": Tiny(), **options})
    return Wire(apps)


class _Opened:
    def __init__(self, folder: DeviceFolder) -> None:
        self.folder = folder

    def __call__(self, context: object) -> EdgeDevice:
        return EdgeDevice(self.folder)
