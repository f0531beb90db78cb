"""Rate-distortion quantisation: every coefficient takes the value that costs least in squared error and bits together.

The classical recipe (Sullivan and Wiegand 1998): minimise D + lambda R with lambda proportional to the squared step.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.decode.volume import SHRINK
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.format.coefficients import ESCAPE, observe
from rinr_flower.codecs.scene.format.lattice import BLOCK, Ints

LAMBDA = 0.14  # squared steps a bit is worth
_DEADZONE = 0.62
_ROUND_UP = 0.42


def quantise(pyramids: list[list[Floats]], steps: list[float], planes: int, rounds: int) -> list[list[Ints]]:
    """Integers for wavelet pyramids, one step a pyramid, after ``rounds`` of rate-distortion decisions.

    ``planes`` as for :func:`rinr_flower.codecs.scene.coefficients.encode_bands`.
    """
    scaled = [
        [np.asarray(np.abs(b) / step, np.float32) for b in bands] for bands, step in zip(pyramids, steps, strict=True)
    ]
    chosen = [[np.where(s < _DEADZONE, 0, np.floor(s + _ROUND_UP)).astype(np.int32) for s in bands] for bands in scaled]
    for _ in range(rounds):
        kinds, bits = observe(chosen, planes)
        chosen = [
            [_decide(s, c, k, bits) for s, c, k in zip(sb, cb, kb, strict=True)]
            for sb, cb, kb in zip(scaled, chosen, kinds, strict=True)
        ]
    return [
        [np.where(b < 0, -c, c).astype(np.int32) for b, c in zip(bands, chosen_bands, strict=True)]
        for bands, chosen_bands in zip(pyramids, chosen, strict=True)
    ]


def _decide(scaled: Floats, chosen: Ints, kinds: NDArray[np.int16], bits: NDArray[np.float64]) -> Ints:
    out = np.zeros_like(chosen)
    live = np.nonzero((chosen > 0) | (scaled > _DEADZONE))
    if len(live[0]) == 0:
        return out
    value = scaled[live]
    table = bits[kinds[live]]
    top = np.maximum(np.floor(value + 0.5), 1).astype(np.int64)
    best = np.full(len(value), np.inf)
    pick = np.zeros(len(value), np.int32)
    rows = np.arange(len(value))
    for candidate in (np.zeros_like(top), top - 1, top):
        centre = candidate - SHRINK * (candidate == 1)
        rate = table[rows, np.minimum(candidate, ESCAPE)] + (candidate > 0)
        cost = (value - centre) ** 2 + LAMBDA * rate
        pick = np.where(cost < best, candidate, pick)
        best = np.minimum(best, cost)
    out[live] = pick
    gain = np.zeros(scaled.shape)
    # what a block saves in squared error against what its values and the zeros among them cost
    gain[live] = value**2 - best
    idle = np.ones(scaled.shape, bool)
    idle[live] = False
    zeros = bits[:, 0][kinds]
    gain -= LAMBDA * zeros * idle
    return np.where(_block_sums(gain) > LAMBDA * 3, out, 0).astype(np.int32)


def _block_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    t, h, w = values.shape
    padded = np.zeros((t, -(-h // BLOCK) * BLOCK, -(-w // BLOCK) * BLOCK))
    padded[:, :h, :w] = values
    sums = padded.reshape(t, padded.shape[1] // BLOCK, BLOCK, padded.shape[2] // BLOCK, BLOCK).sum(axis=(2, 4))
    return np.repeat(np.repeat(sums, BLOCK, 1), BLOCK, 2)[:, :h, :w]
