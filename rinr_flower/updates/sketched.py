"""Sketched updates: random rotation, subsampling, probabilistic quantisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError, PayloadError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.full import read_floats
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.randomness import random_mask, random_signs, random_uniform
from rinr_flower.updates.sparse import element_count, flatten, unflatten
from rinr_flower.updates.top_k import check_fraction

_BLOCK = 4_096
_MAX_BITS = 8


@updates.register("sketched")
@dataclass(frozen=True, kw_only=True)
class Sketched(UpdateCompressor):
    """A random subset of the rotated change, each element in ``bits`` bits, unbiased.

    Konecny et al. 2016 (arXiv 1610.05492), section 2.2 (and Suresh et al. 2017 for the rotation): the change, in blocks
    of 4,096 elements, is rotated by a random diagonal of signs and a Walsh-Hadamard matrix; a random ``fraction`` of
    elements is kept, scaled by its inverse; each is rounded at random to one of 2^bits values equally spaced between
    the smallest and the largest of its block, with probabilities that keep the mean.

    Attributes
    ----------
    bits : of each element that is sent, 1 to 8.
    fraction : probability of an element to be sent, in (0, 1].
    rotate : whether to rotate first.
    """

    bits: int = 2
    fraction: float = 0.25
    rotate: bool = True
    feedback = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fraction(self.name, self.fraction)
        if not 1 <= self.bits <= _MAX_BITS:
            raise ConfigError(f"sketched bits {self.bits} is not in 1..{_MAX_BITS}")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        fraction = float(np.float32(self.fraction))
        writer = ByteWriter()
        writer.u8(self.bits)
        writer.u8(self.rotate)
        writer.f32(fraction)
        vector = flatten(deltas)
        if vector.size == 0:
            return writer.getvalue()
        blocks = _blocks(vector)
        if self.rotate:
            blocks = hadamard(blocks * random_signs(seed, "rotation", blocks.size).reshape(blocks.shape))
        mask = random_mask(seed, "subset", blocks.size, fraction).reshape(blocks.shape)
        low = np.where(mask, blocks, np.inf).min(axis=1)
        high = np.where(mask, blocks, -np.inf).max(axis=1)
        low, high = (np.where(mask.any(axis=1), v, 0).astype(np.float32) for v in (low, high))
        span = np.where(high > low, high - low, np.float32(1))
        scaled = ((blocks - low[:, None]) / span[:, None]) * np.float32(2**self.bits - 1)
        below = np.floor(scaled)
        below += random_uniform(seed, "rounding", blocks.size).reshape(blocks.shape) < scaled - below
        levels = below.clip(0, 2**self.bits - 1)[mask].astype(np.uint8)
        writer.raw(low.astype("<f4").tobytes())
        writer.raw(high.astype("<f4").tobytes())
        planes = (levels[:, None] >> np.arange(self.bits, dtype=np.uint8)) & 1
        writer.raw(np.packbits(planes.reshape(-1)).tobytes())
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "sketched update")
        bits, rotated, fraction = reader.u8(), reader.u8(), reader.f32()
        if not 1 <= bits <= _MAX_BITS or rotated > 1 or not 0 < fraction <= 1:
            raise PayloadError(f"sketched update declares {bits} bits, rotation {rotated} and fraction {fraction}")
        count = element_count(parts)
        if count == 0:
            reader.end()
            return {}
        rows, width = _blocks_shape(count)
        low, high = (read_floats(reader.raw(4 * rows), "<f4", rows) for _ in range(2))
        mask = random_mask(seed, "subset", rows * width, fraction).reshape(rows, width)
        kept = int(mask.sum())
        stream = np.unpackbits(np.frombuffer(reader.raw(-(-kept * bits // 8)), np.uint8), count=kept * bits)
        reader.end()
        levels = (stream.reshape(kept, bits) << np.arange(bits, dtype=np.uint8)).sum(axis=1, dtype=np.uint8)
        which = np.nonzero(mask)[0]
        unit = (high - low) / np.float32(2**bits - 1)
        blocks = np.zeros((rows, width), np.float32)
        blocks[mask] = (low[which] + levels.astype(np.float32) * unit[which]) / np.float32(fraction)
        if rotated:
            blocks = hadamard(blocks) * random_signs(seed, "rotation", blocks.size).reshape(blocks.shape)
        return unflatten(blocks.reshape(-1)[:count], parts)


def hadamard(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows times the orthonormal Walsh-Hadamard matrix; their width is a power of two. It is its own inverse.

    Only additions in a fixed order and one scaling, so the same on every machine.
    """
    rows, width = blocks.shape
    result, half = blocks.astype(np.float32), 1
    while half < width:
        pairs = result.reshape(rows, width // (2 * half), 2, half)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        result = np.stack([first + second, first - second], axis=2).reshape(rows, width)
        half *= 2
    return result * np.float32(1 / np.sqrt(width))


def _blocks_shape(count: int) -> tuple[int, int]:
    """Rows and width of the padded blocks of ``count`` elements: width a power of two, at most 4,096."""
    width = min(_BLOCK, 1 << (count - 1).bit_length())
    return -(-count // width), width


def _blocks(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, width = _blocks_shape(vector.size)
    padded = np.zeros(rows * width, np.float32)
    padded[: vector.size] = vector
    return padded.reshape(rows, width)
