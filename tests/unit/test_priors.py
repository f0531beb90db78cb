"""The command that trains the networks of ``scene``, with little data and few steps, in a copy of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rinr_flower.codecs.scene.format import network, trunk

ROOT = Path(__file__).parents[2]
FORMAT = "rinr_flower/codecs/scene/format"


def test_the_command_writes_networks_that_encode(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="two of the photographs come in its wheel")
    for folder in ("rinr_flower", "priors"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    names = subprocess.run(
        [sys.executable, "-c", "from photographs import DEBIAN; print(*DEBIAN)"],
        cwd=ROOT / "priors", capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    backgrounds = tmp_path / "debian" / "usr" / "share" / "backgrounds"
    backgrounds.mkdir(parents=True)
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 256, (12, 18, 3), np.uint8)
        Image.fromarray(noise).resize((900, 600), Image.Resampling.BICUBIC).save(backgrounds / name)
    here = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    few = ["--clips", "1", "1", "--steps", "5", "5", "5"]
    command = [sys.executable, "priors", "--debian", str(tmp_path / "debian"), *few]
    done = subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    trained = network.ContextNetwork.from_bytes((tmp_path / FORMAT / network.FILE).read_bytes())
    assert trained.digest != network.shipped().digest
    assert trained.magnitudes.shape == network.shipped().magnitudes.shape
    assert (tmp_path / FORMAT / trunk.FILE).read_bytes() != (ROOT / FORMAT / trunk.FILE).read_bytes()
    code = "import sys; from rinr_flower.cli import main; sys.exit(main())"
    again = [sys.executable, "-c", code, "encode", "sample:sequences=1,frames=2,width=96,height=64", "-o", "clip.rinr"]
    done = subprocess.run(again, cwd=tmp_path, env=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
