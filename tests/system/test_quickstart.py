"""The Flower app of examples/quickstart under ``flwr run``, as its README starts it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

APP = Path(__file__).parents[2] / "examples" / "quickstart"


def test_the_commands_of_the_readme_share_and_train(superlink: dict[str, str]) -> None:
    commands = re.findall(r"^flwr run \. here .*$", (APP / "README.md").read_text(), flags=re.MULTILINE)
    assert len(commands) == 2
    small = "num-server-rounds=1 local-steps=1 batch-size=2 image-size=64 data='sample:frames=8,width=64,height=48'"
    given = "codec='avif' average=true"
    command = (
        commands[1]
        .replace("num-supernodes=4", "num-supernodes=2")
        .replace(given, f"{given} {small} frames-per-round=4")
    )
    done = subprocess.run(
        command, shell=True, cwd=APP, env=superlink, capture_output=True, text=True, timeout=400, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for kind in ("upload", "payload", "model", "control"):
        assert re.search(rf"\b{kind}: \d+ bytes", said), said
    assert "NO DEVICE" not in said
    assert not re.search(r"WARNING.* round \d", said), said
