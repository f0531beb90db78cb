"""Heads of a clip: ridge regression of what coded planes lack on the features of the trunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.codecs.scene.decode.synthesis import features_of
from rinr_flower.codecs.scene.decode.wavelet import Floats
from rinr_flower.codecs.scene.encode.quantise import LAMBDA
from rinr_flower.codecs.scene.format.code import FEATURES, HEAD_UNIT, MAX_HEAD, Head
from rinr_flower.codecs.scene.format.trunk import shipped_trunk

_AROUND_BYTES = 3  # from the format, a head's half: a digest of up to 3 bytes, which rows there are, a length
# Of the mean power of a feature. Set by hand: keeps weights small where features hardly differ; more gives up gain.
# To try others: benchmarks/scene_rate.py --constant encode.heads:_RIDGE=VALUE.
_RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Coded:
    """Planes (frames, h, w) of one volume as they are decoded, and as they should be.

    Attributes
    ----------
    decoded, wanted : luma first.
    step : quantiser step of luma.
    share : (h, w), how much of a head is added where; None for all of it.
    weight : how often an error counts.
    """

    decoded: list[Floats]
    wanted: list[Floats]
    step: float
    share: Floats | None = None
    weight: float = 1.0


def solved(volumes: Sequence[Coded], step: float) -> Head | None:
    """The head, for luma alone or all planes, that lowers the squared error of ``volumes`` most for its bits; None if
    none is worth them.

    ``step`` is the quantiser step whose square says what a bit is worth.
    """
    if not volumes:
        return None
    matrix, right = (np.sum(parts, axis=0) for parts in zip(*(_equations(v) for v in volumes), strict=True))
    ridge = _RIDGE * np.trace(matrix) / FEATURES + 1e-9
    exact = np.linalg.solve(matrix + ridge * np.eye(FEATURES), right).T
    whole: Head = np.rint(exact / HEAD_UNIT).clip(-MAX_HEAD, MAX_HEAD).astype(np.int64)
    best: tuple[float, Head | None] = 0.0, None
    for head in (whole[:1], whole):
        used = head * HEAD_UNIT
        gain = float(2 * (used * right.T[: len(head)]).sum() - np.einsum("cf,fg,cg->", used, matrix, used))
        gain -= LAMBDA * step**2 * 8 * (len(encode_ints(head)) + _AROUND_BYTES)
        if gain > best[0]:
            best = gain, head
    return best[1]


def _equations(coded: Coded) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares of what is missing on features: the matrix (f, f) and the right sides (f, planes)."""
    trunk, step = shipped_trunk(), coded.step
    planes = len(coded.decoded)
    matrix, right = np.zeros((FEATURES, FEATURES)), np.zeros((FEATURES, planes))
    gate = None if coded.share is None else torch.from_numpy(coded.share)
    for k in range(len(coded.decoded[0])):
        features = features_of(trunk, torch.from_numpy(coded.decoded[0][k : k + 1] / np.float32(step)))[0] * step
        if gate is not None:
            features = features * gate
        rows = features.reshape(FEATURES, -1)
        missing = np.stack([w[k] - d[k] for w, d in zip(coded.wanted, coded.decoded, strict=True)])
        matrix += (rows @ rows.T).numpy().astype(np.float64)
        right += (rows @ torch.from_numpy(missing.reshape(planes, -1)).T).numpy().astype(np.float64)
    return matrix * coded.weight, right * coded.weight
