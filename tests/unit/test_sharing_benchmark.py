"""The sharing benchmark: gains as an enumeration of all transfers gives them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from benchmark_scripts import script
from skimage.data import astronaut

from rinr_flower.bandwidth.model import gain
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip, Frame, write_jpeg

sharing = script("sharing")
DEVICES = sharing.DEVICES


@pytest.fixture(scope="module")
def clip() -> Clip:
    frames = []
    for t in range(3):
        image = np.ascontiguousarray(astronaut()[40:136, 100 + t : 228 + t])
        box = np.array([[40, 20, 80, 70]], np.float32)
        frames.append(Frame(image, box, np.zeros(1, np.int64), write_jpeg(image, 95)))
    return Clip("small", tuple(frames))


def test_a_gain_is_what_all_transfers_add_up_to(clip: Clip) -> None:
    row = sharing.measured(clip, {"way": "fog", "upload": "roi_jpeg", "codec": "webp"})
    uploaded = codecs.create("roi_jpeg").encode(clip)
    payload = codecs.create("webp").encode(decode(uploaded))
    jpeg = sum(clip.file_bytes() for _ in range(DEVICES) for _ in range(DEVICES - 1))
    fog = sum(len(uploaded) + sum(len(payload) for _ in range(DEVICES - 1)) for _ in range(DEVICES))
    assert row["gain"] == pytest.approx(jpeg / fog)
    alone = sharing.measured(clip, {"way": "serverless", "upload": None, "codec": "roi_jpeg"})
    assert alone["gain"] == pytest.approx(clip.file_bytes() / len(uploaded))
    assert alone["object_db"] > row["object_db"] > 20


def test_median_best_and_worst_are_of_clips() -> None:
    rows = [
        {"clip": f"set/{i}", "way": "fog", "upload": "jpeg", "codec": "scene", "u": 1.0, "alpha": a,
         "gain": float(gain(DEVICES - 1, alpha=a, u=1.0)), "frame_db": 30.0, "object_db": 30.0 + i}
        for i, a in enumerate((0.05, 0.004, 0.1))
    ]  # fmt: skip
    (found,) = sharing.summary(rows)
    assert (found["best_clip"], found["worst_clip"], found["median"]) == ("set/1", "set/2", rows[0]["gain"])
    assert found["median_object_db"] == 31.0


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("sharing", ["--codecs", "nosuch"], "error: unknown codec 'nosuch'; known: "),
        ("sharing", ["--clips", "nosuch"], "error: no clip is called 'nosuch'; one is sample/"),
        ("rate_distortion", ["--clips", "nosuch", "--codecs", "jpeg"], "error: no clip is called 'nosuch'"),
        ("reproduction", ["."], "error: . is no folder of 'bandwidth-report --reproduce': "),
    ],
)
def test_wrong_arguments_are_one_line(
    name: str, arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    data = [] if name == "reproduction" else ["--data", "sample:sequences=1,frames=1,width=64,height=48"]
    monkeypatch.setattr(sys, "argv", [name, *arguments, *data, "--out", str(tmp_path / "out.json")])
    monkeypatch.chdir(tmp_path)
    assert script(name).main() == 2
    assert text in capsys.readouterr().out
    assert not (tmp_path / "out.json").exists()
