"""The benchmark's comparison of codecs at equal quality, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
from rate_comparison import Comparison, Point, compare, fewest_bytes


def curve(*rows: tuple[float, float, float]) -> list[Point]:
    return [Point(size, frame, box, {"quality": i}) for i, (size, frame, box) in enumerate(rows)]


RIVAL = curve((100, 27, 26), (200, 30, 30), (400, 33, 34), (800, 36, 38))


def test_between_points_bytes_are_interpolated_in_their_logarithm():
    assert fewest_bytes(RIVAL, 30, 28) == pytest.approx(200)
    assert fewest_bytes(RIVAL, 32, 28) == pytest.approx(math.sqrt(200 * 400))
    assert fewest_bytes(RIVAL, 39, 28) is None, "nothing is extrapolated"


def test_the_floor_of_the_frame_costs_bytes():
    """At 28 dB over the frame, a third of the way from 27 to 30, whatever the object asks for."""
    assert fewest_bytes(RIVAL, 20, 28) == pytest.approx(100 * 2 ** (1 / 3))
    assert fewest_bytes(RIVAL, 20, 37) is None


def test_half_the_bytes_everywhere_is_a_ratio_of_a_half():
    ours = curve((50, 27, 26), (100, 30, 30), (200, 33, 34), (400, 36, 38))
    result = compare(ours, RIVAL)
    assert result.ratio == pytest.approx(0.5)
    assert (result.low_db, result.high_db, result.floor_db) == (30, 38, 28)
    assert compare(RIVAL, ours).ratio == pytest.approx(2)


def test_a_setting_that_is_worse_and_dearer_changes_nothing():
    worse = [*RIVAL, Point(900, 30, 31, {"quality": 9})]
    assert fewest_bytes(worse, 32, 28) == fewest_bytes(RIVAL, 32, 28)


def test_a_grid_is_interpolated_along_one_option_at_a_time():
    grid = [
        Point(100, 29, 26, {"frame": 0, "box": 0}),
        Point(200, 29, 34, {"frame": 0, "box": 1}),
        Point(400, 35, 26, {"frame": 1, "box": 0}),
        Point(500, 35, 34, {"frame": 1, "box": 1}),
    ]
    assert fewest_bytes(grid, 30, 28) == pytest.approx(100 * math.sqrt(2))
    assert fewest_bytes(grid, 30, 35) == pytest.approx(math.sqrt(400 * 500))


def test_a_rival_that_never_reaches_the_floor_lowers_it_for_both():
    weak = curve((1000, 22, 24), (2000, 24, 26), (3000, 25, 27), (4000, 25.5, 28))
    result = compare(RIVAL, weak)
    assert result.floor_db == 25.5
    assert result.ratio is not None
    assert result.ratio < 0.1
    assert compare(weak, RIVAL) == Comparison(None, floor_db=28)


def test_a_rival_that_starts_above_our_best_is_compared_there():
    ours = curve((10, 29, 20), (20, 30, 22), (30, 31, 24), (40, 32, 25))
    result = compare(ours, RIVAL)
    assert (result.low_db, result.high_db) == (25, 25)
    assert result.ratio == pytest.approx(40 / (100 * 2 ** (1 / 3)))


def test_one_setting_alone_can_be_a_rival():
    camera = [Point(4000, 100, 100, {})]
    result = compare(RIVAL, camera)
    assert (result.low_db, result.high_db) == (38, 38)
    assert result.ratio == pytest.approx(0.2)
