"""The ``rinr`` command as a user runs it, rightly and wrongly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rinr_flower import cli
from rinr_flower.errors import ConfigError


def rinr(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rinr_flower.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames with YOLO labels."""
    path = tmp_path_factory.mktemp("frames")
    generator = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(generator.integers(0, 255, (32, 48, 3), dtype=np.uint8)).save(path / f"{i:03d}.jpg")
        (path / f"{i:03d}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    return path


def test_encode_inspect_decode(folder: Path, tmp_path: Path) -> None:
    payload, pictures = tmp_path / "clip.rinr", tmp_path / "out"
    done = rinr(
        "encode", f"folder:{folder}", "-o", payload, "--codec", "jpeg", "--set", "quality=60", "--frames", "0:2"
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(rinr("inspect", payload, "--json").stdout)
    assert facts["codec"] == "jpeg"
    assert (facts["frames"], facts["width"], facts["height"], facts["boxes"]) == (2, 48, 32, 2)
    assert sum(facts["bytes_by_part"].values()) == facts["bytes"] == payload.stat().st_size
    assert rinr("decode", payload, "-o", pictures, "--size", "24x16").returncode == 0
    assert sorted(p.name for p in pictures.iterdir()) == ["000001.png", "000002.png"]
    assert Image.open(pictures / "000001.png").size == (24, 16)
    assert "jpeg" in rinr("inspect", payload).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "nowhere.rinr"), "nowhere.rinr cannot be read"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpg"), "unknown codec 'jpg'"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--set", "quality=200"), "quality 200"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--set", "quality"), "not key=value"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--frames", "5:2"), "not A:B"),
        (("encode", "folder:NOWHERE", "-o", "OUT/x", "--codec", "jpeg"), "NOWHERE"),
        (("encode", "folder:FOLDER", "-o", "OUT/x", "--codec", "jpeg", "--device", "tpu"), "device 'tpu'"),
        (("decode", "FOLDER/000.jpg", "-o", "OUT/x"), "000.jpg: this is no payload"),
        (("inspect", "FOLDER/000.jpg"), "000.jpg: this is no payload"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(
    folder: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = rinr(*(a.replace("FOLDER", str(folder)).replace("OUT", str(tmp_path)) for a in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", ["640", "0x5", "axb", "99999x99999"])
def test_impossible_sizes(size: str) -> None:
    with pytest.raises(ConfigError, match="WxH"):
        cli.parse_size(size)
