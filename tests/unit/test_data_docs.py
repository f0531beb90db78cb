"""docs/data.md: every kind and way to deal is in its tables, and its code runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from commands import run_here

from rinr_flower.datasets import datasets
from rinr_flower.datasets.dealing import dealings
from rinr_flower.simulations.scenario import load_scenario

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text()

BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_kind_and_way_to_deal_has_a_row() -> None:
    rows = re.findall(r"^\| `\{?(?:name: )?(\w+)", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted([*datasets.names(), *dealings.names()])


def test_the_python_of_the_page_runs() -> None:
    (code,) = [block for language, block in BLOCKS if language == "python"]
    exec(compile(code.replace('"sample")', '"sample:frames=24")'), "docs/data.md", "exec"), {})


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [line.split("#")[0] for language, block in BLOCKS if not language for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines]
    for command in commands:
        if command[0] == "rinr":
            done = run_here(*command)
            assert done.returncode == 0, (command, done.stderr)
        else:
            settings = [command[i + 1].split("=", 1) for i, word in enumerate(command) if word == "--set"]
            load_scenario(None, dict(settings))
    assert len(commands) == 7


@pytest.mark.parametrize("spec", re.findall(r"`((?:otb100|uav123|dac_sdc):[^`]+)`", PAGE))
def test_examples_of_the_table_parse(spec: str) -> None:
    kind, _, location = spec.partition(":")
    datasets.get(kind).parse(location)
