"""Factorised updates of YOLOv8, driven through its own loss."""

from __future__ import annotations

import torch
from descent import descend

from rinr_flower.detection.engine import ultralytics
from rinr_flower.updates import Factorised, Full, apply_update, updating


def test_yolov8_trains_through_factors() -> None:
    torch.manual_seed(0)
    network = ultralytics("nn.tasks").DetectionModel("yolov8n.yaml", nc=1, verbose=False)
    network.args = ultralytics("cfg").get_cfg()
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.4, 0.6, 0.3, 0.5]]),
    }

    def loss() -> torch.Tensor:
        return network.loss(batch)[0].sum()

    def fit(steps: int, rate: float) -> list[float]:
        optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], rate)
        network.train()
        return descend(optimiser, loss, steps)

    fit(14, 5e-4)  # past the first steps, in which the assignment of boxes changes and the loss rises
    base = {k: v.clone() for k, v in network.state_dict().items()}
    with updating(network, Factorised(rank=1, vector_bits=8)) as update:
        losses = fit(12, 1e-3)
    assert losses[-1] < 0.9 * losses[0]
    received = apply_update(base, update.payload)
    assert all(torch.equal(received[k], v) for k, v in network.state_dict().items())
    assert list(received) == list(base)
    full = len(Full().compress(base, received))
    assert len(update.payload) < full / 100
    changed = [n for n in update.changes if not torch.equal(base[n], received[n])]
    assert len(changed) > 40
