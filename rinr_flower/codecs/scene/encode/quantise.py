"""Rate-distortion quantisation: every coefficient takes the value that costs least in squared error and bits together.

The classical recipe (Sullivan and Wiegand 1998): minimise D + lambda R with lambda proportional to the squared step.
The bits are those of the entropy coder's own tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.decode.volume import SHRINK, forward
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.format.code import Pyramids, flat
from rinr_flower.codecs.scene.format.lattice import BLOCK, Ints, Kind, Layout
from rinr_flower.codecs.scene.format.walk import observe, write

# To try others: benchmarks/scene_rate.py --constant encode.quantise:NAME=VALUE.
LAMBDA = 0.11  # squared steps a bit is worth; measured: fewer bytes at equal PSNR than 0.14 (commit 096d278)
_DEADZONE = 0.62  # set by hand: steps up to which a coefficient is 0 at first and, if it is, not tried again
_ROUND_UP = 0.42  # set by hand: of the first choice, which the rounds of decisions then change
# Bits of magnitudes in blocks that were skipped, where no table was chosen; set by hand: fewer bring back more of them.
_SKIPPED = np.concatenate([[0.02], 5.0 + 1.5 * np.arange(1, 256)])

Volume = list[list[Floats]]
"""Bands of every plane, coarsest first."""


def quantise(
    kind: Kind,
    volumes: Sequence[Volume],
    steps: Sequence[Sequence[float]],
    rounds: int,
    weights: Sequence[Volume] | None = None,
) -> list[Pyramids]:
    """Integers for volumes of one kind, with a step for each plane, after ``rounds`` of rate-distortion decisions.

    ``weights``, band by band, say how much a squared error of a coefficient counts; 1 without them.
    """
    layouts = layouts_of(kind, volumes)
    if weights is None:
        weights = [[[np.ones(1, np.float32)] * len(plane) for plane in volume] for volume in volumes]
    worth = [w for volume in weights for plane in volume for w in plane]
    scaled = [
        np.asarray(np.abs(band) / step, np.float32)
        for volume, own in zip(volumes, steps, strict=True)
        for plane, step in zip(volume, own, strict=True)
        for band in plane
    ]
    chosen = [
        np.where(s * np.sqrt(w) < _DEADZONE, 0, np.floor(s + _ROUND_UP)).astype(np.int32)
        for s, w in zip(scaled, worth, strict=True)
    ]
    for _ in range(rounds):
        tables, bits = observe(layouts, chosen)
        bits = np.concatenate([bits, _SKIPPED[None, : bits.shape[1]]])  # where no table was chosen
        chosen = [_decide(s, c, w, t, bits) for s, c, w, t in zip(scaled, chosen, worth, tables, strict=True)]
    signed = iter(
        np.where(band < 0, -c, c).astype(np.int32)
        for band, c in zip((b for v in volumes for b in flat(v)), chosen, strict=True)  # type: ignore[arg-type]
    )
    return [[[next(signed) for _ in plane] for plane in volume] for volume in volumes]


def worth(volume: Floats, step: float) -> float:
    """About how many bits pictures (frames, h, w) are worth at a quantiser ``step``, errors that stay counted as bits.

    A coefficient c costs 2.5 log2(1 + 2 (c / step)^2): a small one its squared error at the encoder's exchange rate, a
    large one the bits of its magnitude.
    """
    # 2.5 and 2 by hand, when LAMBDA was 0.14: 2.5 * 2 / ln 2 = 7.2 = 1 / 0.14. They were not changed with it.
    return 2.5 * sum(float(np.log2(1 + 2 * (band / step) ** 2).sum()) for band in forward([volume])[0])


def coded_bytes(kind: Kind, volumes: Sequence[Pyramids]) -> int:
    """Bytes that volumes of one kind take."""
    layouts = layouts_of(kind, volumes)
    return sum(map(len, write(layouts, [band for volume in volumes for band in flat(volume)]).values()))


def layouts_of(kind: Kind, volumes: Sequence[Volume] | Sequence[Pyramids]) -> list[Layout]:
    """The layouts of volumes that are there."""
    return [Layout(kind, tuple(tuple(b.shape for b in plane) for plane in volume)) for volume in volumes]


def _decide(scaled: Floats, chosen: Ints, worth: Floats, tables: NDArray[np.int16], bits: NDArray[np.float64]) -> Ints:
    out = np.zeros_like(chosen)
    worth = np.broadcast_to(worth, scaled.shape)
    live = np.nonzero((chosen > 0) | (scaled * np.sqrt(worth) > _DEADZONE))
    if len(live[0]) == 0:
        return out
    value, weight, table = scaled[live], worth[live], tables[live]
    top = np.maximum(np.floor(value + 0.5), 1).astype(np.int64)
    best = np.full(len(value), np.inf)
    pick = np.zeros(len(value), np.int32)
    for candidate in (np.zeros_like(top), top - 1, top):
        centre = candidate - SHRINK * (candidate == 1)
        rate = bits[table, np.minimum(candidate, bits.shape[1] - 1)] + (candidate > 0)
        cost = weight * (value - centre) ** 2 + LAMBDA * rate
        pick = np.where(cost < best, candidate, pick)
        best = np.minimum(best, cost)
    out[live] = pick
    gain = np.zeros(scaled.shape)
    # what a block saves in squared error against what its values and the zeros among them cost
    gain[live] = weight * value**2 - best
    idle = np.ones(scaled.shape, bool)
    idle[live] = False
    gain -= LAMBDA * bits[:, 0][tables] * idle
    # 3 bits, set by hand: what a block costs beside its values when it is not skipped; more skip more blocks
    return np.where(_block_sums(gain) > LAMBDA * 3, out, 0).astype(np.int32)


def _block_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    t, h, w = values.shape
    padded = np.zeros((t, -(-h // BLOCK) * BLOCK, -(-w // BLOCK) * BLOCK))
    padded[:, :h, :w] = values
    sums = padded.reshape(t, padded.shape[1] // BLOCK, BLOCK, padded.shape[2] // BLOCK, BLOCK).sum(axis=(2, 4))
    return np.repeat(np.repeat(sums, BLOCK, 1), BLOCK, 2)[:, :h, :w]
