"""The digits scenarios of the update benchmark: a small CNN on scikit-learn's real 8 x 8 digit images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import rotate
from sklearn.datasets import load_digits
from torch import nn

SCENARIOS = ("more data", "drift", "new task")
EPOCHS = 10
BATCH = 32
LEARNING_RATE = 2e-3
ROTATION_DEG = 45.0
TEST_SHARE = 0.4
FEW = 100


@dataclass(frozen=True, eq=False)
class Scenario:
    """Images (n, 1, 8, 8) in 0..1 and labels: what the base saw, what the update is trained on, what is tested."""

    name: str
    before: tuple[torch.Tensor, torch.Tensor]
    after: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def network() -> nn.Module:
    """71,834 parameters: two convolutions and two linear layers, with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def scenario(name: str, seed: int) -> Scenario:
    """One of SCENARIOS; the seed draws which images are for training and which for testing."""
    images, labels = _digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    cut = int(len(order) * TEST_SHARE)
    test, train = order[:cut], order[cut:]
    if name == "more data":
        return Scenario(
            name, _pick(images, labels, train[:FEW]), _pick(images, labels, train), _pick(images, labels, test)
        )
    if name == "drift":
        turned = _turned()
        return Scenario(name, _pick(images, labels, train), _pick(turned, labels, train), _pick(turned, labels, test))
    known, fresh = train[labels[train] < 5], train[labels[train] >= 5]
    return Scenario(
        name, _pick(images, labels, known), _pick(images, labels, fresh), _pick(images, labels, test[labels[test] >= 5])
    )


def train(
    model: nn.Module, data: tuple[torch.Tensor, torch.Tensor], *, epochs: int, seed: int, rate: float = LEARNING_RATE
) -> None:
    """Adam with a cosine schedule on whatever of the model requires gradients."""
    images, labels = data
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], rate)
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimiser.step()
            schedule.step()
    model.eval()


def accuracy(model: nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Share of the test images classified correctly, 0 to 1."""
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).float().mean())


@lru_cache
def _digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


@lru_cache
def _turned() -> NDArray[np.float32]:
    return np.stack([rotate(image, ROTATION_DEG, order=1, mode="edge") for image in _digits()[0]]).astype(np.float32)


def _pick(
    images: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(images[rows, None]), torch.from_numpy(labels[rows])
