"""Random-mask structured updates: only elements under a mask random from a seed change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.exact import RAW_BITS
from rinr_flower.updates.layout import Part
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.parametrise import Change, Weight
from rinr_flower.updates.randomness import random_mask
from rinr_flower.updates.reals import check_bits, read_reals, write_reals
from rinr_flower.updates.top_k import check_fraction


@updates.register("random_mask")
@dataclass(frozen=True, kw_only=True)
class RandomMask(UpdateCompressor):
    """The elements under a mask that both ends draw from the update's seed; no places are sent.

    Konecny et al. 2016 (arXiv 1610.05492), section 2.1. The paper learns under the mask: train the model within
    :func:`updating`. Of a change that was trained freely the masked part is sent.

    Attributes
    ----------
    fraction : probability of an element to be sent, in (0, 1].
    bits : 32 sends elements as float32, as the paper does; 2 to 14 quantises and entropy-codes them.
    """

    fraction: float = 0.05
    bits: int = RAW_BITS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.name, self.fraction)
        check_bits(self.name, self.bits)

    def space(self, weights: Mapping[str, Weight], *, seed: int) -> dict[str, Change] | None:
        fraction = _stored(self.fraction)
        return {
            name: _Masked(torch.from_numpy(random_mask(seed, name, w.parameter.numel(), fraction)), w.padding)
            for name, w in weights.items()
        }

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        fraction = _stored(self.fraction)
        writer = ByteWriter()
        writer.f32(fraction)
        kept = [delta[_mask(name, parts[name], fraction, seed)] for name, delta in deltas.items()]
        write_reals(writer, kept, self.bits)
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "random_mask update")
        fraction = reader.f32()
        if not 0 < fraction <= 1:
            raise PayloadError(f"random_mask update declares the fraction {fraction}")
        masks = {name: _mask(name, part, fraction, seed) for name, part in parts.items()}
        arrays = read_reals(reader, [int(m.sum()) for m in masks.values()], "masked elements")
        reader.end()
        result = {}
        for (name, mask), values in zip(masks.items(), arrays, strict=True):
            result[name] = np.zeros(mask.shape, np.float32)
            result[name][mask] = values
        return result


class _Masked(Change):
    """Trainable values, from zero, where the mask is set."""

    places: torch.Tensor

    def __init__(self, mask: torch.Tensor, frozen_row: int | None) -> None:
        super().__init__(frozen_row)
        self.size = mask.numel()
        self.register_buffer("places", torch.nonzero(mask)[:, 0])
        self.values = nn.Parameter(torch.zeros(int(mask.sum())))

    def delta(self) -> torch.Tensor:
        return torch.zeros(self.size, device=self.values.device).index_add(0, self.places, self.values)


def _mask(name: str, part: Part, fraction: float, seed: int) -> NDArray[np.bool_]:
    mask = random_mask(seed, name, part.height * part.columns, fraction)
    return mask.reshape(part.height, part.columns)[part.rows]


def _stored(fraction: float) -> float:
    """The fraction as the payload holds it, float32."""
    return float(np.float32(fraction))
