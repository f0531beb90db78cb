"""SIRENs that serve several pictures each: all layers are the same for them but the first, which is a picture's own.

The first layer of a SIREN turns coordinates into phases. A picture that shows the same scene from elsewhere needs other
phases and nothing else: a motion of the camera is a change of the first layer's weights, and slow changes of what is
seen are shifts of its biases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rinr_flower.bitstream.weights import Quantised, quantise, round_up_bfloat16
from rinr_flower.inr.fit import Schedule, fit
from rinr_flower.inr.siren import SirenShape, forward, sine

MOST_ROUNDED_BITS = 10
"""Bit width above which rounding loses nothing that layers would have to learn to do without."""
RESIDENT_BITS = 8
"""Bits that a weight of this width or less may take, and takes in memory."""
SPREAD = 4.0
"""Root mean squares of a tensor's weights that its bits span, where its largest is further out."""
FREEZING = 0.3
"""Share of the schedule's end in which layer after layer is rounded and kept, while those behind it go on learning."""
OWN_PENALTY = 1e-5
"""Weight of the absolute difference of a picture's first layer from the one that all share."""


def fit_of(pictures: int, steps: int, points: int | None) -> tuple[int, int | None]:
    """Steps, and points of each picture a step, for a network of so many pictures; ``steps`` and ``points`` are those
    of a network of one, and None is all points.

    A network of several takes up to 4 times as many points a step, then up to 4 times as many steps: what a picture
    takes to fit never rises, and falls from 16 pictures on.
    """
    longer = steps * max(1, min(pictures, 16) // 4)
    return longer, None if points is None else max(1, points * min(pictures, 4) // pictures)


@dataclass(frozen=True, eq=False)
class SharedWeights:
    """Quantised networks.

    Attributes
    ----------
    own : weight (networks, pictures, inputs, hidden) and bias (networks, pictures, 1, hidden) of the first layers.
    common : weight (networks, in, out) and bias (networks, 1, out) of every other layer.

    Scales are one for each network and tensor.
    """

    own: list[Quantised]
    common: list[Quantised]

    def rows(self, row: int) -> SharedWeights:
        """One of the networks."""
        return SharedWeights(*([t.rows(row, row + 1) for t in kind] for kind in (self.own, self.common)))


class SharedBank:
    """Networks of one shape while they are fitted, each for the same number of pictures.

    Parameters
    ----------
    shape, tensors : as :func:`rinr_flower.inr.siren.initial_bank` takes and gives them.
    motions : (networks, pictures, 2, 3), from a picture's coordinates (x, y, 1) in -1..1 to its network's: where the
        fit starts from.
    """

    def __init__(
        self, shape: SirenShape, tensors: Sequence[torch.Tensor], motions: torch.Tensor, device: torch.device
    ) -> None:
        self.shape = shape
        self._motions = motions.to(device)
        self._first = [t.to(device).requires_grad_() for t in tensors[:2]]
        self._rest = [t.to(device).requires_grad_() for t in tensors[2:]]
        networks, pictures = motions.shape[:2]
        self._own = [torch.zeros(networks, pictures, *t.shape[1:], device=device).requires_grad_() for t in tensors[:2]]
        self._fixed: dict[int, Quantised] = {}
        self._masks: list[torch.Tensor] | None = None

    @property
    def networks(self) -> int:
        """Networks of the bank."""
        return int(self._motions.shape[0])

    @property
    def pictures(self) -> int:
        """Pictures of every network."""
        return int(self._motions.shape[1])

    def parameters(self) -> list[torch.Tensor]:
        """The tensors that are still to be fitted."""
        first = [] if 0 in self._fixed else [*self._first, *(self._own if self.pictures > 1 else ())]
        return [*first, *(t for t in self._rest if t.requires_grad)]

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Points (networks, pictures, p, inputs) -> (networks, pictures, p, outputs)."""
        weight, bias = (t.flatten(0, 1) for t in self.first_layers())
        value = sine(torch.baddbmm(bias, points.flatten(0, 1), weight), self.shape.w0)
        networks, pictures, count = points.shape[:3]
        rest = forward(self._pruned(), value.reshape(networks, pictures * count, -1), self.shape.w0)
        return rest.reshape(networks, pictures, count, -1)

    def first_layers(self) -> list[torch.Tensor]:
        """Weight (networks, pictures, inputs, hidden) and bias (networks, pictures, 1, hidden)."""
        if 0 in self._fixed:
            return self._first
        weight, bias = (t[:, None] for t in self._first)
        turned = self._motions[..., :2].transpose(-1, -2) @ weight + self._own[0]
        return [turned, bias + self._motions[..., None, :, 2] @ weight + self._own[1]]

    def penalties(self) -> list[torch.Tensor]:
        """Terms of the loss that hold the pictures' own layers near to the one that all share."""
        if 0 in self._fixed or self.pictures == 1:
            return []
        return [OWN_PENALTY * t.abs().sum() for t in self._own]

    def prune(self, fraction: float) -> None:
        """Fix the smallest ``fraction`` of every network's hidden weights at zero (magnitude pruning)."""
        self._masks = []
        for index, tensor in enumerate(self._rest):
            mask = torch.ones_like(tensor)
            if index % 2 == 0 and index < len(self._rest) - 2:
                magnitude = tensor.detach().abs().flatten(1)
                limit = magnitude.kthvalue(max(1, round(fraction * magnitude.shape[1])), dim=1).values
                mask = (tensor.detach().abs() > limit[:, None, None]).float()
            self._masks.append(mask)

    def _pruned(self) -> Sequence[torch.Tensor]:
        if self._masks is None:
            return self._rest
        return [t * m for t, m in zip(self._rest, self._masks, strict=True)]

    def freeze(self, layer: int, bits: int) -> None:
        """Round layer ``layer``, and keep it from now on."""
        rounded = [_quantise(t, bits) for t in self._tensors()[2 * layer : 2 * layer + 2]]
        self._fixed |= {2 * layer + i: tensor for i, tensor in enumerate(rounded)}
        exact = [torch.from_numpy(t.dequantise()).to(self._motions.device) for t in rounded]
        if layer == 0:
            self._first = exact
        else:
            self._rest[2 * layer - 2 : 2 * layer] = exact

    def select(self, rows: torch.Tensor) -> SharedBank:
        """A new bank of some of the networks."""
        tensors = [t.detach()[rows].clone() for t in (*self._first, *self._rest)]
        chosen = SharedBank(self.shape, tensors, self._motions[rows], self._motions.device)
        chosen._own = [t.detach()[rows].clone().requires_grad_() for t in self._own]
        return chosen

    def quantised(self, bits: int) -> SharedWeights:
        """The networks, rounded; layers that were frozen are what they were."""
        tensors = [self._fixed.get(i) or _quantise(t, bits) for i, t in enumerate(self._tensors())]
        return SharedWeights(tensors[:2], tensors[2:])

    def _tensors(self) -> list[torch.Tensor]:
        return [*self.first_layers(), *self._pruned()]


def fit_and_round(
    bank: SharedBank,
    losses: Callable[[int], Iterable[torch.Tensor]],
    schedule: Schedule,
    bits: int,
    *,
    first: int = 0,
    prune: float = 0.0,
    progress: Callable[[float], None] | None = None,
) -> SharedWeights:
    """Fit ``bank`` from step ``first`` of the schedule to its end, and round its layers one after the other on the way.

    The layers behind a rounded one learn to do without what it lost (incremental quantisation, as Zhou et al., 2017, do
    by magnitude): 6 bits then cost 0.5 dB where rounding everything at the end costs 5 dB.
    """
    steps, half = schedule.steps, schedule.steps // 2
    if prune:
        fit(bank.parameters(), losses, schedule, first=first, last=half, progress=progress)
        bank.prune(prune)
        first = half
    layers = bank.shape.layers if bits <= MOST_ROUNDED_BITS else 0
    start = steps - round(FREEZING * steps) if layers else steps
    stops = [start + (steps - start) * k // max(1, layers) for k in range(layers + 1)]
    fit(bank.parameters(), losses, schedule, first=first, last=stops[0], progress=progress)
    for layer in range(layers):
        bank.freeze(layer, bits)
        fit(
            bank.parameters(),
            losses,
            schedule,
            first=max(first, stops[layer]),
            last=stops[layer + 1],
            progress=progress,
        )
    return bank.quantised(bits)


def _quantise(tensor: torch.Tensor, bits: int) -> Quantised:
    """Round to ``bits`` bits over the largest weight or SPREAD root mean squares; a few weights may then take more."""
    values = tensor.detach().cpu().numpy()
    if bits > RESIDENT_BITS:
        return quantise(values, bits, (0,))
    rest = tuple(range(1, values.ndim))
    largest = np.abs(values).max(axis=rest, keepdims=True)
    usual = np.minimum(largest, SPREAD * np.sqrt(np.square(values).mean(axis=rest, keepdims=True)))
    limit = 2 ** (RESIDENT_BITS - 1) - 1
    scale = round_up_bfloat16(np.maximum(usual / (2 ** (bits - 1) - 1), largest / limit))
    safe = np.where(scale > 0, scale, 1).astype(np.float32)
    return Quantised(np.rint(values / safe).clip(-limit, limit).astype(np.int32), scale)
