"""The sharing benchmark: gains as an enumeration of all transfers gives them, and the term that misses a bar."""

from __future__ import annotations

import numpy as np
import pytest
from sharing import DEVICES, against_bar, fog_row, serverless_row, summary
from skimage.data import astronaut

from rinr_flower.bandwidth.model import gain
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip, Frame, write_jpeg


@pytest.fixture(scope="module")
def clip() -> Clip:
    frames = []
    for t in range(3):
        image = np.ascontiguousarray(astronaut()[40:136, 100 + t : 228 + t])
        box = np.array([[40, 20, 80, 70]], np.float32)
        frames.append(Frame(image, box, np.zeros(1, np.int64), write_jpeg(image, 95)))
    return Clip("small", tuple(frames))


def test_a_gain_is_what_all_transfers_add_up_to(clip: Clip) -> None:
    row = fog_row(clip, "webp", "roi_jpeg")
    uploaded = codecs.create("roi_jpeg").encode(clip)
    payload = codecs.create("webp").encode(decode(uploaded))
    jpeg = sum(clip.file_bytes() for _ in range(DEVICES) for _ in range(DEVICES - 1))
    fog = sum(len(uploaded) + sum(len(payload) for _ in range(DEVICES - 1)) for _ in range(DEVICES))
    assert row["gain"] == pytest.approx(jpeg / fog)
    alone = serverless_row(clip, "roi_jpeg")
    assert alone["gain"] == pytest.approx(clip.file_bytes() / len(uploaded))
    assert alone["object_db"] > row["object_db"] > 20


@pytest.mark.parametrize(
    ("upload", "u", "alpha", "to_blame"),
    [("jpeg", 1.0, 0.05, "alpha"), ("roi_jpeg", 0.5, 0.01, "u"), ("roi_jpeg", 0.1, 0.1, "alpha")],
)
def test_a_missed_bar_names_its_term_and_what_would_do(upload: str, u: float, alpha: float, to_blame: str) -> None:
    row = {"upload": upload, "u": u, "alpha": alpha, "gain": float(gain(DEVICES - 1, alpha=alpha, u=u))}
    verdict = against_bar(row, row["gain"] * 1.05)
    assert not verdict["met"]
    assert verdict["to_blame"] == to_blame
    changed = {"u": u, "alpha": alpha, to_blame: verdict[f"{to_blame}_needed"]}
    assert float(gain(DEVICES - 1, **changed)) == pytest.approx(verdict["wanted"])
    assert against_bar(row, row["gain"] * 0.95) == {"wanted": row["gain"] * 0.95, "met": True}


def test_a_bar_that_no_value_meets() -> None:
    row = {"upload": "roi_jpeg", "u": 0.5, "alpha": 0.2, "gain": float(gain(DEVICES - 1, alpha=0.2, u=0.5))}
    verdict = against_bar(row, 40.0)
    assert verdict["alpha_needed"] is None
    assert verdict["u_needed"] is None


def test_median_best_and_worst_are_of_clips() -> None:
    rows = [
        {"clip": f"set/{i}", "frames": 16, "way": "fog", "upload": "jpeg", "codec": "scene", "u": 1.0, "alpha": a,
         "gain": float(gain(DEVICES - 1, alpha=a, u=1.0)), "frame_db": 30.0, "object_db": 30.0 + i}
        for i, a in enumerate((0.05, 0.004, 0.1))
    ]  # fmt: skip
    (found,) = summary(rows)
    assert (found["best_clip"], found["worst_clip"], found["median"]) == ("set/1", "set/2", rows[0]["gain"])
    assert found["median_object_db"] == 31.0
    assert {name: bar["met"] for name, bar in found["bars"].items()} == {"median": False, "best": True, "worst": False}
