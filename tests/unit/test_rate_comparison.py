"""The benchmark's comparison of codecs at equal quality, against figures worked out by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from lib.clips import REPEATED, once
from lib.rate_comparison import (
    Matched,
    Point,
    bd_rate_percent,
    chain,
    envelope_ratio,
    fewest_bytes,
    matched,
    neighbours,
)
from lib.rate_points import SERIES, build
from lib.rate_records import WIDTH_PX, Backgrounds, at_most

from rinr_flower.codecs import Residual, codecs
from rinr_flower.datasets import load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def curve(*rows: tuple[float, float, float]) -> list[Point]:
    return [Point(size, frame, box, {"quality": i}) for i, (size, frame, box) in enumerate(rows)]


RIVAL = curve((100, 27, 26), (200, 30, 30), (400, 33, 34), (800, 36, 38))


def test_between_points_bytes_are_interpolated_in_their_logarithm():
    assert fewest_bytes(chain(RIVAL), 30, 28) == pytest.approx(200)
    assert fewest_bytes(chain(RIVAL), 32, 28) == pytest.approx(math.sqrt(200 * 400))
    assert fewest_bytes(chain(RIVAL), 39, 28) is None, "nothing is extrapolated"


def test_the_floor_of_the_frame_costs_bytes():
    """At 28 dB over the frame, a third of the way from 27 to 30, whatever the object asks for."""
    assert fewest_bytes(chain(RIVAL), 20, 28) == pytest.approx(100 * 2 ** (1 / 3))
    assert fewest_bytes(chain(RIVAL), 20, 37) is None


def test_half_the_bytes_everywhere_is_a_ratio_of_a_half():
    ours = curve((50, 27, 26), (100, 30, 30), (200, 33, 34), (400, 36, 38))
    assert matched(ours, RIVAL) == Matched(pytest.approx(0.5), 4, 4)
    assert matched(RIVAL, ours) == Matched(pytest.approx(2), 4, 4)
    assert envelope_ratio(ours, RIVAL) == pytest.approx(0.5)
    assert bd_rate_percent(ours, RIVAL) == pytest.approx(-50)
    assert bd_rate_percent(RIVAL, ours) == pytest.approx(100)


def test_a_rival_must_be_as_good_in_both_regions():
    """30 dB in the box costs the rival 200 bytes, but 33 dB over the frame 400: the dearer of the two counts."""
    assert matched(curve((100, 33, 30)), RIVAL) == Matched(pytest.approx(100 / 400), 1, 1)
    assert matched(curve((100, 27, 34)), RIVAL) == Matched(pytest.approx(100 / 400), 1, 1)


def test_points_that_the_rival_does_not_reach_are_left_out():
    ours = curve((50, 27, 26), (100, 30, 50))
    assert matched(ours, RIVAL) == Matched(pytest.approx(0.5), 1, 2)
    assert matched(curve((100, 50, 50)), RIVAL) == Matched(None, 0, 1)


def test_points_below_the_rivals_curve_are_left_out():
    """Its cheapest setting is better in both regions: how few bytes a coarser one would take is not known."""
    assert matched(curve((10, 26, 25), (100, 30, 30)), RIVAL) == Matched(pytest.approx(0.5), 1, 2)
    assert matched(curve((10, 26, 25)), RIVAL) == Matched(None, 0, 1)
    assert matched(curve((50, 27, 20)), RIVAL) == Matched(pytest.approx(0.5), 1, 1), "as good over the frame"


def test_bjontegaard_is_the_mean_of_the_logarithm_between_the_curves():
    """Straight lines of dB over log bytes whose distance falls from a factor 2 to 1: 2 ** -0.5 in the mean."""
    ours = curve(*((100 * 2 ** (i - 1 + i / 3), 0, 30 + 3 * i) for i in range(4)))
    rival = curve(*((100 * 2**i, 0, 30 + 3 * i) for i in range(4)))
    assert bd_rate_percent(ours, rival) == pytest.approx(100 * (2**-0.5 - 1))
    assert bd_rate_percent(ours[:3], rival) is None
    assert bd_rate_percent(ours, curve(*((1, 0, 50 + i) for i in range(4)))) is None


def test_a_setting_that_is_worse_and_dearer_changes_nothing():
    worse = [*RIVAL, Point(900, 30, 31, {"quality": 9})]
    assert fewest_bytes(chain(worse), 32, 28) == fewest_bytes(chain(RIVAL), 32, 28)


def test_a_grid_is_interpolated_along_one_option_at_a_time():
    grid = [
        Point(100, 29, 26, {"frame": 0, "box": 0}),
        Point(200, 29, 34, {"frame": 0, "box": 1}),
        Point(400, 35, 26, {"frame": 1, "box": 0}),
        Point(500, 35, 34, {"frame": 1, "box": 1}),
    ]
    assert fewest_bytes(neighbours(grid), 30, 28) == pytest.approx(100 * math.sqrt(2))
    assert fewest_bytes(neighbours(grid), 30, 35) == pytest.approx(math.sqrt(400 * 500))


def test_a_rival_that_never_reaches_the_floor_lowers_it_for_both():
    weak = curve((1000, 22, 24), (2000, 24, 26), (3000, 25, 27), (4000, 25.5, 28))
    assert envelope_ratio(RIVAL, weak) == pytest.approx(math.sqrt(100 * 200) / 4000)
    assert envelope_ratio(weak, RIVAL) is None


def test_a_rival_that_starts_above_our_best_is_compared_there():
    ours = curve((10, 29, 20), (20, 30, 22), (30, 31, 24), (40, 32, 25))
    assert envelope_ratio(ours, RIVAL) == pytest.approx(40 / (100 * 2 ** (1 / 3)))


def test_every_series_has_a_curve_of_different_codecs():
    for name, series in SERIES.items():
        assert len({repr(build(point)) for point in series.points}) == len(series.points), name
        assert len(series.curve) >= 4 or len(series.points) == 1, name


def test_a_shared_background_gives_the_bytes_of_each_codec_alone():
    clip = load("sample:sequences=1,width=64,height=48,frames=2")[0]
    siren = codecs.create("rapid_inr", hidden=6, layers=2, steps=2, batch_points=64)
    over = Residual(background=siren, steps=2, candidates=1, batch_points=64)
    backgrounds = Backgrounds(clip, seed=1)
    alone, together = (backgrounds.encode(codec, lambda _: None) for codec in (siren, over))
    assert alone[0] == siren.encode(clip, seed=1)
    assert together[0] == over.encode(clip, seed=1)
    assert together[1] > alone[1] > 0, "the time of a background is in that of what lies over it"
    assert backgrounds.encode(codecs.create("jpeg"), lambda _: None)[0] == codecs.create("jpeg").encode(clip)


def test_stills_of_wider_frames_are_judged_at_the_width_that_quality_is():
    clip = load("sample:sequences=1,width=1280,height=96,frames=2")[0]
    small = at_most(clip, WIDTH_PX)
    assert (small.width, small.height, small.file_bytes()) == (640, 48, 0)
    for before, after in zip(clip.frames, small.frames, strict=True):
        means = before.image.reshape(48, 2, 640, 2, 3).mean((1, 3))
        assert np.abs(after.image - means).max() <= 1, "the mean of four pixels, rounded in each direction"
        np.testing.assert_array_equal(after.boxes, before.boxes / 2)
    assert at_most(small, WIDTH_PX) is small


def test_a_recording_counts_once():
    repeated, original = next(iter(REPEATED.items()))
    rows = [{"clip": repeated, "gain": 9}, {"clip": original, "gain": 3}, {"clip": "a/b", "gain": 1}]
    assert [r["gain"] for r in once(rows)] == [3, 1]
    assert once(rows[:1]) == rows[:1], "it stands for the recording where the other was not measured"


def test_redo_drops_the_rows_that_are_asked_for_and_no_others(tmp_path):
    path = tmp_path / "rates.json"
    command = [sys.executable, str(BENCHMARKS / "rate_distortion.py"), "--data", "sample:width=64,height=48,frames=2"]
    command += ["--frames", "0:2", "--out", str(path)]

    def run(*arguments):
        subprocess.run([*command, *arguments], check=True, capture_output=True)
        return {(r["clip"], r["series"], r["options"].get("quality")): r for r in json.loads(path.read_text())["rows"]}

    first = run("--codecs", "camera,jpeg")
    content = json.loads(path.read_text())
    content["code"]["0" * 16] = next(iter(content["code"].values()))
    for row in content["rows"]:
        row["code"] = "0" * 16
        row["encode_cpu_s"] = -1
    path.write_text(json.dumps(content))
    clip = next(iter(first))[0]
    again = run("--codecs", "camera", "--redo", "stale", "--clips", clip)
    assert again.keys() == first.keys()
    assert {k for k, r in again.items() if r["encode_cpu_s"] >= 0} == {k for k in first if k[:2] == (clip, "camera")}
