"""The Flower app of examples/compression under ``flwr run``, as its README starts it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

APP = Path(__file__).parents[2] / "examples" / "compression"


def test_the_command_of_the_readme_averages_and_says_what_updates_take(superlink: dict[str, str]) -> None:
    commands = re.findall(r"^flwr run .*$", (APP / "README.md").read_text(), flags=re.MULTILINE)
    assert len(commands) == 1
    command = commands[0].replace("num-supernodes=4", "num-supernodes=2")
    done = subprocess.run(
        command, shell=True, cwd=APP, env=superlink, capture_output=True, text=True, timeout=400, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert len(re.findall(r"round \d: 2 updates up, \d+ bytes; one down, \d+ bytes", said)) == 3, said
    assert "left out" not in said
