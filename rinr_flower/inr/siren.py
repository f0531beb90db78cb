"""Banks of SIRENs: many sine networks of one shape, fitted and evaluated as batched products.

SIREN: Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions" (NeurIPS 2020).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rinr_flower.bitstream.weights import FLOAT_BITS, Quantised

TILE = 1024
"""Points that one product handles per network. Fixed, so that a pixel's value does not depend on what else is drawn."""


@dataclass(frozen=True)
class SirenShape:
    """``layers`` sine layers of ``hidden`` units, sin(w0 (W x + b)), and a linear output layer."""

    hidden: int
    layers: int
    w0: int = 30
    inputs: int = 2
    outputs: int = 3

    def shapes(self, networks: int) -> list[tuple[int, ...]]:
        """Shapes of a bank's tensors: weight (networks, in, out) and bias (networks, 1, out) of every layer."""
        widths = [self.inputs, *[self.hidden] * self.layers, self.outputs]
        return [s for a, b in itertools.pairwise(widths) for s in ((networks, a, b), (networks, 1, b))]

    @property
    def parameters(self) -> int:
        """Parameters of one network."""
        return sum(math.prod(s) for s in self.shapes(1))


def initial_bank(shape: SirenShape, networks: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Weights drawn as in SIREN's section 3.2 (first layer uniform in 1/in, others in sqrt(6/in)/w0), on the CPU."""
    tensors = []
    for index, size in enumerate(shape.shapes(networks)):
        fan_in = shape.inputs if index < 2 else shape.hidden
        bound = 1 / fan_in if index < 2 else math.sqrt(6 / fan_in) / shape.w0
        tensors.append((torch.rand(size, generator=generator) * 2 - 1) * bound)
    return tensors


def forward(tensors: Sequence[torch.Tensor], points: torch.Tensor, w0: int) -> torch.Tensor:
    """Evaluate a bank: points (networks, p, inputs) in -1..1 -> (networks, p, outputs)."""
    value = points
    for index in range(0, len(tensors) - 2, 2):
        value = sine(torch.baddbmm(tensors[index + 1], value, tensors[index]), w0)
    return torch.baddbmm(tensors[-1], value, tensors[-2])


def sine(z: torch.Tensor, w0: int) -> torch.Tensor:
    """sin(w0 * z), which overwrites ``z``: an intermediate value that nothing else uses."""
    result: torch.Tensor = _Sine.apply(z, w0)  # type: ignore[no-untyped-call]
    return result


class _Sine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, w0: int) -> torch.Tensor:
        z.mul_(w0)
        if not ctx.needs_input_grad[0]:
            ctx.mark_dirty(z)
            return z.sin_()
        ctx.save_for_backward(z)
        ctx.w0 = w0
        return torch.sin(z)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (z,) = ctx.saved_tensors
        return torch.cos(z).mul_(ctx.w0).mul_(gradients[0]), None


FITTED_POINTS = 4096
"""Points of every network that one product of a fit takes. Fixed, so that a network does not depend on the others that
are fitted with it; larger ones leave the cache, smaller ones spend their time in calls."""


def fitted_slices(points: int) -> list[slice]:
    """The points of a step, in parts."""
    return [slice(at, at + FITTED_POINTS) for at in range(0, points, FITTED_POINTS)]


def values_at_once(device: torch.device) -> int:
    """Values of one layer that a product should make: as many as stay in the cache that the next layer reads them from.

    On a CPU, the second-level cache of every core that torch uses; larger products go to memory and back, which takes 2
    to 3 times as long. Elsewhere as many as keep the device busy.
    """
    if device.type != "cpu":
        return 2**24
    return _cache_bytes() // 4 * torch.get_num_threads()


@functools.cache
def _cache_bytes() -> int:
    """Second-level cache of a core; 1 MiB where the system does not say."""
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text(encoding="ascii").strip()
        return max(1 << 18, min(1 << 22, int(text.removesuffix("K")) << 10))
    except (OSError, ValueError):
        return 1 << 20


class ResidentBank:
    """Networks of one shape, resident as integers, evaluated tile by tile. Networks are numbered as they were added."""

    def __init__(self, shape: SirenShape, bits: int, device: torch.device) -> None:
        self.shape, self.bits, self._device = shape, bits, device
        self._arrived: list[tuple[list[torch.Tensor], list[torch.Tensor]]] = []
        self._count = 0

    def add(self, tensors: Sequence[Quantised]) -> range:
        """Take in a bank's tensors; returns the numbers of its networks."""
        kind = torch.float32 if self.bits == FLOAT_BITS else torch.int8 if self.bits <= 8 else torch.int16
        values = [torch.from_numpy(np.ascontiguousarray(t.values)).to(self._device, kind) for t in tensors]
        scales = [torch.from_numpy(np.ascontiguousarray(t.scale)).to(self._device) for t in tensors]
        self._arrived.append((values, scales))
        start = self._count
        self._count += len(values[0])
        return range(start, self._count)

    def __len__(self) -> int:
        return self._count

    @property
    def tensors(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Integers and scales of every tensor of the networks, each (networks, ...); joined when first asked for."""
        if len(self._arrived) > 1:
            values, scales = (
                [torch.cat(parts) for parts in zip(*kind, strict=True)] for kind in zip(*self._arrived, strict=True)
            )
            self._arrived = [(values, scales)]
        return self._arrived[0]

    @property
    def resident_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self._arrived for kind in pair for t in kind)

    def evaluate(self, networks: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
        """Tile k (k, TILE, inputs) through network ``networks[k]``: float32 (k, TILE, outputs).

        Equal networks may repeat. Each tile is one product of fixed size: the result does not depend on the others.
        """
        used, inverse = torch.unique(networks, return_inverse=True)
        weights = [v[used].float() * s[used] for v, s in zip(*self.tensors, strict=True)]
        out = torch.empty(*tiles.shape[:2], self.shape.outputs, device=self._device)
        step = max(1, values_at_once(self._device) // (TILE * self.shape.hidden))
        for start in range(0, len(tiles), step):
            rows = slice(start, start + step)
            out[rows] = forward([w[inverse[rows]] for w in weights], tiles[rows], self.shape.w0)
        return out


class Banks:
    """Resident banks by shape and bit width: the INR grouping of Residual-INR, across frames, clips and objects."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._banks: dict[tuple[SirenShape, int], ResidentBank] = {}

    def add(self, shape: SirenShape, bits: int, tensors: Sequence[Quantised]) -> list[tuple[ResidentBank, int]]:
        """Take in networks of one shape; returns where each one lives."""
        bank = self._banks.setdefault((shape, bits), ResidentBank(shape, bits, self._device))
        return [(bank, i) for i in bank.add(tensors)]

    @property
    def resident_bytes(self) -> int:
        return sum(b.resident_bytes for b in self._banks.values())


def evaluate_grouped(places: Sequence[tuple[ResidentBank, int]], points: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Evaluate ``points[i]`` (p_i, inputs) with the network at ``places[i]``, grouped into one product per shape.

    Returns float32 (p_i, outputs) for each. Points are cut into tiles and the last tile of each is padded with zeros.
    """
    results: list[torch.Tensor] = [p.new_zeros(0, 3) for p in points]
    groups: dict[int, list[int]] = {}
    for index, (bank, _) in enumerate(places):
        groups.setdefault(id(bank), []).append(index)
    for members in groups.values():
        bank = places[members[0]][0]
        counts = [-(-len(points[i]) // TILE) for i in members]
        tiles = points[members[0]].new_zeros(sum(counts), TILE, bank.shape.inputs)
        at = 0
        for i, count in zip(members, counts, strict=True):
            tiles[at : at + count].view(-1, bank.shape.inputs)[: len(points[i])] = points[i]
            at += count
        numbers = torch.tensor([places[i][1] for i in members], device=tiles.device)
        networks = numbers.repeat_interleave(torch.tensor(counts, device=tiles.device))
        values = bank.evaluate(networks, tiles)
        at = 0
        for i, count in zip(members, counts, strict=True):
            results[i] = values[at : at + count].reshape(-1, bank.shape.outputs)[: len(points[i])]
            at += count
    return results
