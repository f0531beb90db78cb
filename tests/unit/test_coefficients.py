"""Entropy coding of wavelet pyramids: what is written is read, whatever the volumes of a payload look like."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.coefficients import ESCAPE, decode_bands, encode_bands, observe
from rinr_flower.codecs.scene.format.lattice import BLOCK, Ints
from rinr_flower.codecs.scene.format.shapes import VolumeShape
from rinr_flower.errors import PayloadError

VOLUMES = [(1, 70, 90), (5, 33, 18), (32, 20, 40), (1, 4, 4), (3, 9, 7), (1, 70, 90)]
Pyramids = list[list[Ints]]


def shapes(volumes: list[tuple[int, int, int]], grey: bool) -> list[list[tuple[int, int, int]]]:
    return [bands for v in volumes for bands in VolumeShape(*v, grey, full_chroma=True).bands()]


def sparse(wanted: list[list[tuple[int, int, int]]], seed: int, spread: float = 1.0) -> Pyramids:
    """Values as wavelets have them: fewer and smaller in finer bands and at higher time frequencies."""
    rng = np.random.default_rng(seed)
    out = []
    for bands in wanted:
        pyramid = []
        for number, shape in enumerate(bands):
            scale = spread * 6 / (1 + number) / (1 + np.arange(shape[0]))[:, None, None]
            pyramid.append(np.rint(rng.laplace(0, scale, shape)).astype(np.int32))
        out.append(pyramid)
    return out


def same(a: Pyramids, b: Pyramids) -> bool:
    return all(np.array_equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True))


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
@pytest.mark.parametrize(
    "volumes", [VOLUMES[:1], VOLUMES[3:4], VOLUMES, VOLUMES[::-1]], ids=["one", "tiny", "six", "turned"]
)
def test_what_is_written_is_read(volumes: list[tuple[int, int, int]], grey: bool) -> None:
    wanted = shapes(volumes, grey)
    for seed, spread in ((0, 1.0), (1, 0.1), (2, 30.0)):
        given = sparse(wanted, seed, spread)
        data = encode_bands(given, 1 if grey else 3)
        assert same(decode_bands(data, wanted, 1 if grey else 3), given)


def test_values_beyond_the_tables_are_read() -> None:
    wanted = shapes(VOLUMES[:2], True)
    given = sparse(wanted, 0)
    given[0][0][0, 0, 0], given[1][1][2, 0, 0] = 70_000, -ESCAPE
    assert same(decode_bands(encode_bands(given, 1), wanted, 1), given)


def test_a_volume_without_values_among_others_costs_next_to_nothing() -> None:
    wanted = shapes(VOLUMES[:3], True)
    given = sparse(wanted, 0)
    alone = len(encode_bands([given[0], given[2]], 1))
    given[1] = [np.zeros_like(band) for band in given[1]]
    data = encode_bands(given, 1)
    assert same(decode_bands(data, wanted, 1), given)
    assert len(data) <= alone + 12


def test_one_volume_reads_alike_in_either_order() -> None:
    wanted = shapes(VOLUMES[2:3], True)
    given = sparse(wanted, 0)
    assert same(decode_bands(encode_bands(given, 1), wanted, 1, together=False), given)


def held(band: Ints) -> NDArray[np.bool_]:
    """Where a block of the band holds anything; the others are skipped."""
    whole = np.zeros(band.shape, bool)
    for t, y, x in np.ndindex(band.shape[0], -(-band.shape[1] // BLOCK), -(-band.shape[2] // BLOCK)):
        block = (t, slice(y * BLOCK, (y + 1) * BLOCK), slice(x * BLOCK, (x + 1) * BLOCK))
        whole[block] = band[block].any()
    return whole


def test_the_costs_observed_are_those_paid() -> None:
    wanted = shapes(VOLUMES, True)
    given = sparse(wanted, 3)
    kinds, bits = observe([[np.abs(b) for b in bands] for bands in given], 1)
    paid = sum(
        bits[k, np.minimum(np.abs(b), ESCAPE)][held(b)].sum() + np.count_nonzero(b)
        for bands, found in zip(given, kinds, strict=True)
        for b, k in zip(bands, found, strict=True)
    )
    assert 0.9 < paid / (8 * len(encode_bands(given, 1))) < 1  # which block holds anything, and learning, cost too


def test_truncated_coefficients_are_refused() -> None:
    wanted = shapes(VOLUMES, True)
    data = encode_bands(sparse(wanted, 0), 1)
    with pytest.raises(PayloadError, match="truncated"):
        decode_bands(data[:-1], wanted, 1)
