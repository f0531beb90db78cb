"""The detector scenario of the update benchmark: YOLOv8n moves from some generated sequences to others."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn
from update_methods import Bench

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Factory, Yolo, factory_state

SCENARIOS = ("new sequences",)
SEQUENCES, FRAMES = 3, 24
HELD_BACK = 8  # of every 24 frames, the last ones are tested
STEPS, BATCH, SIZE_PX = 60, 8, 160


@lru_cache(maxsize=1)
def _factory() -> dict[str, object]:
    return dict(factory_state(Factory(steps=200, size=SIZE_PX)))


def bench(name: str, seed: int) -> tuple[Bench, dict[str, float]]:
    """The factory model as the base, its training on other sequences as the full update; scores are mAP50-95.

    The seed chooses the sequences and the order of the frames.
    """
    spec = f"sample:sequences={SEQUENCES},frames={FRAMES},first={SEQUENCES * seed}"
    store = FrameStore(codecs.create("jpeg").encode_many(load(spec)))
    seen = [i for i in range(len(store)) if i % FRAMES < FRAMES - HELD_BACK]
    held = [i for i in range(len(store)) if i % FRAMES >= FRAMES - HELD_BACK]
    detector = Yolo(load(spec)[0].class_names, weights=_factory())
    base = {k: v.clone() for k, v in detector.network.state_dict().items()}

    def train(network: nn.Module, share: float, rate: float, order: int) -> None:
        detector.fit(
            store,
            seen,
            steps=round(STEPS * share),
            batch=BATCH,
            size=SIZE_PX,
            seed=order,
            learning_rate=1e-3 * rate,
        )

    def score(network: nn.Module) -> float:
        return detector.evaluate(store, held, size=SIZE_PX).map50_95

    before = score(detector.network)
    train(detector.network, 1, 1, seed)
    full: dict[str, torch.Tensor] = {k: v.clone() for k, v in detector.network.state_dict().items()}
    return Bench(detector.network, base, full, train, score), {"base": before, "full": score(detector.network)}
