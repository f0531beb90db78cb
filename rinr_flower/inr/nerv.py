"""NeRV: a convolutional network from the time of a frame to the whole frame.

Chen et al., "NeRV: Neural Representations for Videos" (NeurIPS 2021), sections 3.1 and 4.1: positional embedding of the
time, two fully connected layers, blocks of convolution, pixel shuffle and GELU, a 1x1 head.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

EMBEDDING_BASE = 1.25


@dataclass(frozen=True)
class NervShape:
    """Sizes of one network.

    Attributes
    ----------
    grid : (height, width) of the feature map that the fully connected layers make.
    stem : units of the first fully connected layer.
    channels : channels of that feature map; the first block keeps them, every later one halves them.
    lower_width : fewest channels that halving may leave.
    strides : upsampling factor of each block.
    levels : frequencies of the positional embedding, EMBEDDING_BASE ** 0 ... ** (levels - 1) half-turns.
    """

    grid: tuple[int, int]
    stem: int
    channels: int
    lower_width: int
    strides: tuple[int, ...]
    levels: int = 40

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of what the network draws."""
        factor = math.prod(self.strides)
        return self.grid[0] * factor, self.grid[1] * factor

    def widths(self) -> list[int]:
        """Channels after each block."""
        widths = [self.channels]
        for _ in self.strides[1:]:
            widths.append(max(widths[-1] // 2, self.lower_width))
        return widths

    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the tensors: weight and bias of the two linear layers, of every block, and of the head."""
        features = self.channels * self.grid[0] * self.grid[1]
        shapes: list[tuple[int, ...]] = [(self.stem, 2 * self.levels), (self.stem,), (features, self.stem), (features,)]
        before = self.channels
        for width, stride in zip(self.widths(), self.strides, strict=True):
            shapes += [(width * stride**2, before, 3, 3), (width * stride**2,)]
            before = width
        return [*shapes, (3, before, 1, 1), (3,)]

    @property
    def parameters(self) -> int:
        """Parameters of the network."""
        return sum(math.prod(s) for s in self.shapes())


def initial_tensors(shape: NervShape, generator: torch.Generator) -> list[torch.Tensor]:
    """Weights and biases uniform in +-1/sqrt(inputs), on the CPU."""
    tensors, bound = [], 0.0
    for size in shape.shapes():
        if len(size) > 1:
            bound = 1 / math.sqrt(math.prod(size[1:]))
        tensors.append((torch.rand(size, generator=generator) * 2 - 1) * bound)
    return tensors


def embed(times: torch.Tensor, levels: int) -> torch.Tensor:
    """Times (n,) in 0..1 as sines and cosines, (n, 2 * levels)."""
    angles = times[:, None] * (math.pi * EMBEDDING_BASE ** torch.arange(levels, device=times.device))
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).flatten(1)


def forward(tensors: Sequence[torch.Tensor], shape: NervShape, times: torch.Tensor) -> torch.Tensor:
    """Draw the frames at ``times`` (n,) in 0..1: float32 (n, 3, height, width) of ``shape.size``, RGB in 0..1."""
    value = F.gelu(F.linear(embed(times, shape.levels), tensors[0], tensors[1]))
    value = F.gelu(F.linear(value, tensors[2], tensors[3])).reshape(-1, shape.channels, *shape.grid)
    for index, stride in enumerate(shape.strides):
        weight, bias = tensors[4 + 2 * index : 6 + 2 * index]
        value = F.gelu(F.pixel_shuffle(F.conv2d(value, weight, bias, padding=1), stride))
    return (torch.tanh(F.conv2d(value, tensors[-2], tensors[-1])) + 1) / 2
