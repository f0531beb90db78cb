"""Promises about the package itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path


def test_importing_the_codecs_touches_neither_flower_ray_nor_ultralytics() -> None:
    program = (
        "import sys, rinr_flower, rinr_flower.codecs, rinr_flower.decoding, rinr_flower.cli, rinr_flower.detection\n"
        "print([m for m in ('flwr', 'ray', 'ultralytics', 'cv2', 'av', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_package_folder_is_in_the_distribution() -> None:
    root = Path(__file__).parents[2]
    listed = set(tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(p.parent.relative_to(root).parts) for p in (root / "rinr_flower").rglob("__init__.py")}
    beside = {f"rinr_flower.{name}" for name in ("clients", "simulations", "strategies")}
    assert listed == found | beside
