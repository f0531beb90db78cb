"""The classification tasks of the update benchmark, on real images that come with scikit-learn and scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.transform import rotate
from sklearn.datasets import load_digits
from torch import nn

from .update_task import Data, Task, classification_task

SCENARIOS = ("more data", "drift", "new task")
"""Of arXiv 2203.04516: a hundred images before and all after; rotated images after; classes never seen before."""
FEW = 100
ROTATION_DEG = 45.0
PHOTOGRAPHS = (
    "brick.png", "grass.png", "gravel.png", "chelsea.png", "coffee.png", "ihc.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "retina.jpg", "page.png",
)  # fmt: skip
PATCH = 16


def digits_task(scenario: str, seed: int) -> Task:
    """Scikit-learn's 1,797 digits of 8 x 8 pixels and a CNN of 71,802 parameters; a fifth each validates and tests."""
    images, labels = digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    held, train = np.split(order[: 2 * len(order) // 5], 2), order[2 * len(order) // 5 :]
    torch.manual_seed(seed)
    return _task(cnn(), images, _turned, labels, scenario, train, held, steps=340, rate=2e-3, seed=seed)


def textures_task(scenario: str, seed: int) -> Task:
    """Which of ten photographs a patch of 16 x 16 pixels is from, and a network of depthwise convolutions.

    Patches for training are from the left three fifths of a photograph, those for validation and testing from the rest.
    """
    random = np.random.default_rng(seed)
    images, labels, held = _patches(random)
    train = random.permutation(np.flatnonzero(~held))
    rest = np.split(random.permutation(np.flatnonzero(held)), 2)
    torch.manual_seed(seed)
    return _task(
        depthwise(), images, lambda: _rotated(images), labels, scenario, train, rest, steps=200, rate=3e-3, seed=seed
    )


def _task(
    model: nn.Module,
    images: NDArray[np.float32],
    turned: Callable[[], NDArray[np.float32]],
    labels: NDArray[np.int64],
    scenario: str,
    train: NDArray[np.int64],
    held: list[NDArray[np.int64]],
    *,
    steps: int,
    rate: float,
    seed: int,
) -> Task:
    after, fresh = images, labels >= 5
    if scenario == "more data":
        before = _pick(images, labels, train[:FEW])
    elif scenario == "drift":
        before, after = _pick(images, labels, train), turned()
    else:
        before = _pick(images, labels, train[~fresh[train]])
        train, held = train[fresh[train]], [part[fresh[part]] for part in held]
    parts = [_pick(after, labels, part) for part in held]
    return classification_task(
        model, before, _pick(after, labels, train), parts, steps=steps, batch=32, rate=rate, seed=seed
    )


def cnn() -> nn.Module:
    """Two convolutions and two linear layers, with batch normalisation."""
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


class Bottleneck(nn.Module):
    """MobileNetV2's inverted residual: expand, depthwise convolution, project."""

    def __init__(self, width: int, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.skips = width == out and stride == 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        changed: torch.Tensor = self.body(features)
        return features + changed if self.skips else changed


def depthwise() -> nn.Module:
    """A stem and two inverted residuals."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, 2, 1, bias=False),
        nn.BatchNorm2d(24),
        nn.ReLU6(),
        Bottleneck(24, 96, 48, 2),
        Bottleneck(48, 192, 48, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(48, 10),
    )


@lru_cache
def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    bunch = load_digits()
    return (bunch.images / 16).astype(np.float32), bunch.target.astype(np.int64)


@lru_cache
def _turned() -> NDArray[np.float32]:
    return _rotated(digits()[0])


def _rotated(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([rotate(image, ROTATION_DEG, order=1, mode="edge") for image in images]).astype(np.float32)


@lru_cache
def _photographs() -> list[NDArray[np.float32]]:
    """Grey, at half size, 0 to 1."""
    found = []
    for name in PHOTOGRAPHS:
        with Image.open(str(files("skimage") / "data" / name)) as image:
            grey = image.convert("L").reduce(2)
            found.append(np.asarray(grey, np.float32) / 255)
    return found


def _patches(random: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """200 patches of every photograph for training and 200 held back, less their mean."""
    images, labels, held = [], [], []
    for label, photograph in enumerate(_photographs()):
        height, width = photograph.shape
        border = 3 * width // 5
        for number in range(400):
            low, high = (0, border - PATCH) if number < 200 else (border, width - PATCH)
            x, y = random.integers(low, high + 1), random.integers(0, height - PATCH + 1)
            patch = photograph[y : y + PATCH, x : x + PATCH]
            images.append(4 * (patch - patch.mean()))
            labels.append(label)
            held.append(number >= 200)
    return np.stack(images), np.array(labels), np.array(held)


def _pick(images: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> Data:
    return torch.from_numpy(images[rows, None]), torch.from_numpy(labels[rows])
