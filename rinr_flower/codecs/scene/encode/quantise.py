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
from rinr_flower.codecs.scene.encode.costs import observe
from rinr_flower.codecs.scene.format.code import Pyramids, flat
from rinr_flower.codecs.scene.format.lattice import BLOCK, Ints, Kind, Lattice, Layout, Places
from rinr_flower.codecs.scene.format.walk import write

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
    lattice = Lattice(layouts_of(kind, volumes))
    bands = [band for volume in volumes for band in flat(volume)]
    own = [s for row, volume in zip(steps, volumes, strict=True) for s, p in zip(row, volume, strict=True) for _ in p]
    scaled = lattice.fill([np.abs(band) / step for band, step in zip(bands, own, strict=True)], np.float32)
    weight = np.ones(1, np.float32)
    if weights is not None:
        weight = lattice.fill([w for volume in weights for w in flat(volume)], np.float32)
    counted = scaled * np.sqrt(weight)
    chosen = np.where(counted < _DEADZONE, 0, np.floor(scaled + _ROUND_UP)).astype(np.int32)
    for _ in range(rounds):
        live = np.flatnonzero((chosen > 0) | (counted > _DEADZONE))
        chosen = _decide(lattice, scaled, weight, live, *observe(lattice, chosen))
    found = iter(lattice.bands(chosen))
    return [[[np.where(band < 0, -c, c) for band, c in zip(p, found, strict=False)] for p in v] for v in volumes]


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


def _decide(
    lattice: Lattice,
    scaled: Floats,
    weight: Floats,
    live: Places,
    tables: NDArray[np.int16],
    bits: NDArray[np.float64],
) -> Ints:
    """The cheapest magnitudes (size,) for magnitudes ``scaled`` (size,) in steps; 0 but where they are ``live``.

    ``weight`` is how much a squared error counts, (size,) or (1,); ``tables`` and ``bits`` are what :func:`observe`
    found.
    """
    bits = np.concatenate([bits, _SKIPPED[None, : bits.shape[1]]])  # where no table was chosen
    value, table = scaled[live], tables[live]
    counts = weight if len(weight) == 1 else weight[live]
    top = np.maximum(np.floor(value + 0.5), 1).astype(np.int64)
    best = np.full(len(value), np.inf)
    pick = np.zeros(len(value), np.int32)
    for candidate in (np.zeros_like(top), top - 1, top):
        centre = candidate - SHRINK * (candidate == 1)
        rate = bits[table, np.minimum(candidate, bits.shape[1] - 1)] + (candidate > 0)
        cost = counts * (value - centre) ** 2 + LAMBDA * rate
        pick = np.where(cost < best, candidate, pick)
        best = np.minimum(best, cost)
    out = np.zeros(lattice.size, np.int32)
    out[live] = pick
    # what a block saves in squared error against what its values and the zeros among them cost
    saved, idle = counts * value**2 - best, -LAMBDA * bits[:, 0]
    stops = np.searchsorted(live, lattice.base)
    for slot, picked in enumerate(lattice.bands(out), start=1):
        mine, start = slice(stops[slot], stops[slot + 1]), lattice.base[slot]
        if mine.start < mine.stop:
            gain = idle[tables[start : lattice.base[slot + 1]]]
            gain[live[mine] - start] = saved[mine]
            # 3 bits, set by hand: what a block costs beside its values when it is not skipped; more skip more blocks
            picked[_block_sums(lattice.inner(slot, gain)) <= LAMBDA * 3] = 0
    return out


def _block_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    t, h, w = values.shape
    padded = np.zeros((t, -(-h // BLOCK) * BLOCK, -(-w // BLOCK) * BLOCK))
    padded[:, :h, :w] = values
    sums = padded.reshape(t, padded.shape[1] // BLOCK, BLOCK, padded.shape[2] // BLOCK, BLOCK).sum(axis=(2, 4))
    return np.repeat(np.repeat(sums, BLOCK, 1), BLOCK, 2)[:, :h, :w]
