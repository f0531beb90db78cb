"""Random bits that both ends of an update draw alike, from a seed and a tensor's place.

Only NumPy's Philox counter generator's raw output is used: it is specified and never changes, unlike the methods of
``numpy.random.Generator``.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray


def random_words(seed: int, what: str, count: int) -> NDArray[np.uint32]:
    """``count`` uniform 32-bit words for the purpose ``what``, which names the tensor and the use."""
    bits = np.random.Philox(key=[seed, zlib.crc32(what.encode())])
    words = bits.random_raw(-(-count // 2)) if count else np.zeros(0, np.uint64)
    return np.asarray(words, "<u8").view("<u4")[:count]


def random_signs(seed: int, what: str, count: int) -> NDArray[np.float32]:
    """``count`` values of -1 or 1 with equal probability."""
    bits = np.unpackbits(random_words(seed, what, -(-count // 32)).view(np.uint8))[:count]
    return np.where(bits, np.float32(1), np.float32(-1))


def random_mask(seed: int, what: str, count: int, fraction: float) -> NDArray[np.bool_]:
    """``count`` independent flags, each true with probability ``fraction`` (to within 2^-32)."""
    return random_words(seed, what, count) < np.uint64(round(fraction * 2**32))


def random_uniform(seed: int, what: str, count: int) -> NDArray[np.float32]:
    """``count`` float32 values in [0, 1), multiples of 2^-24."""
    return (random_words(seed, what, count) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
