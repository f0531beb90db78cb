"""Stochastic quantisation to a few levels of a bucket's norm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import ConfigError
from rinr_flower.updates.base import Matrices, Parts, UpdateCompressor, updates
from rinr_flower.updates.full import read_floats
from rinr_flower.updates.levels import read_levels, write_levels
from rinr_flower.updates.memory import Memory
from rinr_flower.updates.randomness import random_uniform
from rinr_flower.updates.steps import MAX_LEVEL

_MAX_BUCKET = 2**32


@updates.register("qsgd")
@dataclass(frozen=True, kw_only=True)
class Qsgd(UpdateCompressor):
    """Every element rounded at random, without bias, to a multiple of its bucket's norm over ``levels``.

    Alistarh et al. 2017 (QSGD, arXiv 1610.02132), section 3.1: ``norm * sign(v) * l / levels``, l the integer below or
    above ``|v| * levels / norm``, above with probability equal to the fraction. Levels are entropy-coded with the
    library's ANS coder, which is shorter than the paper's Elias codes.

    Attributes
    ----------
    levels : quantisation levels s from 1 to 8,191.
    bucket : elements that share a norm (the paper's bucketing, section 4); 0 takes one norm per weight.
    """

    levels: int = 16
    bucket: int = 512
    feedback = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.levels <= MAX_LEVEL:
            raise ConfigError(f"qsgd levels {self.levels} is not in 1..{MAX_LEVEL}")
        if not 0 <= self.bucket <= _MAX_BUCKET:
            raise ConfigError(f"qsgd bucket {self.bucket} is not in 0..{_MAX_BUCKET}")

    def encode(self, deltas: Matrices, parts: Parts, *, seed: int, memory: Memory | None) -> bytes:
        writer = ByteWriter()
        writer.varint(self.levels)
        writer.varint(self.bucket)
        norms, levels = [], []
        for name, delta in deltas.items():
            buckets = _pad(delta.reshape(-1), _width(delta.size, self.bucket))
            norm = np.sqrt(np.square(buckets, dtype=np.float64).sum(axis=1)).astype(np.float32)
            norms.append(norm)
            scaled = np.abs(buckets) / np.where(norm > 0, norm, np.float32(1))[:, None] * np.float32(self.levels)
            below = np.floor(scaled)
            below += random_uniform(seed, name, scaled.size).reshape(scaled.shape) < scaled - below
            signed = np.copysign(below.clip(0, self.levels), buckets).astype(np.int32)
            levels.append(signed.reshape(-1)[: delta.size])
        if norms:
            writer.raw(np.concatenate(norms).astype("<f4").tobytes())
        write_levels(writer, levels)
        return writer.getvalue()

    @classmethod
    def decode(cls, data: bytes, parts: Parts, *, seed: int) -> dict[str, NDArray[np.float32]]:
        reader = ByteReader(data, "qsgd update")
        top, bucket = reader.varint(MAX_LEVEL), reader.varint(_MAX_BUCKET)
        sizes = [p.size for p in parts.values()]
        widths = [_width(size, bucket) for size in sizes]
        counts = [-(-size // width) for size, width in zip(sizes, widths, strict=True)]
        norms = read_floats(reader.raw(4 * sum(counts)), "<f4", sum(counts))
        arrays = read_levels(reader, sizes, "qsgd levels", top)
        reader.end()
        result, start = {}, 0
        for (name, part), levels, width, count in zip(parts.items(), arrays, widths, counts, strict=True):
            unit = norms[start : start + count] / np.float32(top)
            start += count
            buckets = _pad(levels.astype(np.float32), width) * unit[:, None]
            result[name] = buckets.reshape(-1)[: levels.size].reshape(part.shape)
        return result


def _width(size: int, bucket: int) -> int:
    return min(size, bucket) if bucket else size


def _pad(flat: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Rows of ``width`` elements, the last one padded with zeros."""
    rows = -(-flat.size // width)
    padded = np.zeros(rows * width, np.float32)
    padded[: flat.size] = flat
    return padded.reshape(rows, width)
