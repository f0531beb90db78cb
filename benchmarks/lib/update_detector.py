"""The detector task of the update benchmark: YOLOv8n moves from the factory's sequences to others."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir

from torch import nn

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import State, architecture, factory_state
from rinr_flower.detection.network_detector import NetworkDetector

from .update_task import Task

SEQUENCES, FRAMES = 4, 40
SEEN, VALIDATED = 16, 12  # of every 40 frames; the last 12 test
STEPS, BATCH, SIZE_PX, LEARNING_RATE = 80, 8, 160, 1e-3  # 60 steps at 96 px taught it nothing


@lru_cache(maxsize=1)
def _factory() -> State:
    return factory_state(cache=Path(gettempdir()))


def detector_task(scenario: str, seed: int) -> Task:
    """The factory model as the base, and four sequences that the seed chooses; scores are mAP50-95."""
    clips = load(f"sample:sequences={SEQUENCES},frames={FRAMES},first={SEQUENCES * seed}")
    store = FrameStore(codecs.create("jpeg").encode_many(clips), cache_bytes=2**28)
    groups = {
        "seen": range(SEEN),
        "validated": range(SEEN, SEEN + VALIDATED),
        "tested": range(SEEN + VALIDATED, FRAMES),
    }
    frames = {name: [i for i in range(len(store)) if i % FRAMES in group] for name, group in groups.items()}
    detector = architecture("yolov8n").build(clips[0].class_names, weights=_factory())
    assert isinstance(detector, NetworkDetector)
    network: nn.Module = detector.network
    base = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def train(model: nn.Module, share: float, factor: float, order: int) -> None:
        detector.fit(
            store,
            frames["seen"],
            steps=round(STEPS * share),
            batch=BATCH,
            size=SIZE_PX,
            seed=order,
            learning_rate=LEARNING_RATE * factor,
        )

    def score(model: nn.Module) -> tuple[float, float]:
        found = [detector.evaluate(store, frames[name], size=SIZE_PX).map50_95 for name in ("validated", "tested")]
        return found[0], found[1]

    return Task(network, base, train, score)
