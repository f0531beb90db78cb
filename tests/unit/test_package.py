"""Promises about the package itself."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_codecs_touches_neither_flower_ray_nor_ultralytics() -> None:
    program = (
        "import sys, rinr_flower, rinr_flower.codecs, rinr_flower.decoding, rinr_flower.cli, rinr_flower.detection\n"
        "print([m for m in ('flwr', 'ray', 'ultralytics', 'cv2', 'av', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
