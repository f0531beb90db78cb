"""The CDF 9/7 wavelet on stacks of pictures and an orthonormal cosine transform along time.

Both have closed-form inverses, so what a scene keeps of a picture needs no fitting. The wavelet is the factorisation of
Daubechies and Sweldens (1998), scaled so that its basis functions have nearly unit norm and one step size serves all
bands; sizes are arbitrary and borders are mirrored.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.shapes import level_sizes

Floats = NDArray[np.float32]

_LIFTS = (-1.586134342, -0.052980118, 0.882911076, 0.443506852)
_SCALE = 1.149604398


def analyse(pictures: Floats) -> list[Floats]:
    """Wavelet bands of ``pictures`` (..., height, width), coarsest first: low-pass, then (HL, LH, HH) of each level."""
    bands: list[Floats] = []
    low = np.asarray(pictures, np.float32)
    for _ in level_sizes(*low.shape[-2:])[1:]:
        left, right = _split(low, -1)
        low, lh = _split(left, -2)
        hl, hh = _split(right, -2)
        bands[:0] = [hl, lh, hh]
    return [low, *bands]


def synthesise(bands: list[Floats]) -> Floats:
    """Inverse of :func:`analyse`."""
    low = bands[0]
    for hl, lh, hh in zip(bands[1::3], bands[2::3], bands[3::3], strict=True):
        low = _merge(_merge(low, lh, -2), _merge(hl, hh, -2), -1)
    return low


def _split(signal: Floats, axis: int) -> tuple[Floats, Floats]:
    x = _first(signal, axis)
    even, odd = x[0::2].copy(), x[1::2].copy()
    spare = np.empty_like(even)
    for step, weight in enumerate(_LIFTS):
        _lift(even, odd, spare, np.float32(weight), predict=step % 2 == 0)
    even *= np.float32(_SCALE)
    odd *= np.float32(1 / _SCALE)
    return _back(even, axis), _back(odd, axis)


def _merge(low: Floats, high: Floats, axis: int) -> Floats:
    even = _first(low, axis) * np.float32(1 / _SCALE)
    odd = _first(high, axis) * np.float32(_SCALE)
    spare = np.empty_like(even)
    for step in (3, 2, 1, 0):
        _lift(even, odd, spare, np.float32(-_LIFTS[step]), predict=step % 2 == 0)
    shape = list(low.shape)
    shape[axis] += high.shape[axis]
    out = np.empty(shape, np.float32)  # rows stay rows in memory, whatever the axis
    along = _first(out, axis)
    along[0::2], along[1::2] = even, odd
    return out


def _first(array: Floats, axis: int) -> Floats:
    """A view with ``axis``, -1 or -2, before all others; ``numpy.moveaxis`` takes ten times as long to make it."""
    n = array.ndim
    return array.transpose(n + axis, *range(n + axis), *range(n + axis + 1, n))


def _back(array: Floats, axis: int) -> Floats:
    """The array that :func:`_first` was given."""
    n = array.ndim
    return array.transpose(*range(1, n + axis + 1), 0, *range(n + axis + 1, n))


def _lift(even: Floats, odd: Floats, spare: Floats, weight: np.float32, *, predict: bool) -> None:
    """Add ``weight`` times the two neighbours, borders mirrored: evens to odds (predict) or odds to evens (update).

    ``spare`` is memory of the size of ``even``: fresh memory for every sum would take longer than the sums.
    """
    n_even, n_odd = len(even), len(odd)
    if n_odd == 0:
        return
    if predict:
        both = np.add(even[:-1], even[1:], out=spare[: n_even - 1])
        odd[: n_even - 1] += np.multiply(both, weight, out=both)
        if n_odd == n_even:
            odd[-1] += 2 * weight * even[-1]
    else:
        both = np.add(odd[:-1], odd[1:], out=spare[: n_odd - 1])
        even[1:n_odd] += np.multiply(both, weight, out=both)
        even[0] += 2 * weight * odd[0]
        if n_even > n_odd:
            even[-1] += 2 * weight * odd[-1]


@functools.lru_cache(maxsize=8)
def cosine_basis(frames: int) -> Floats:
    """The orthonormal DCT-II matrix (frequencies, frames)."""
    k, t = np.arange(frames)[:, None], np.arange(frames)[None, :]
    basis = np.cos(np.pi * (t + 0.5) * k / frames) * np.sqrt(2 / frames)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)
