"""Tables of the docs that list every key or option, and what the page on deployment prints for containers."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest
import yaml
from flwr.cli.app import app
from typer.main import get_command

from rinr_flower.codecs import codecs
from rinr_flower.simulations.scenario import Scenario

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "examples" / "deployment"


def rows(text: str) -> list[list[str]]:
    """The cells of the rows whose first cell is a name in backticks."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:3] == "| `"]


def test_every_key_of_a_scenario_has_a_row_with_its_default() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text(encoding="utf-8")
    table = page.partition("<!-- scenario keys -->")[2].partition("<!-- /scenario keys -->")[0]
    found = {key.strip("` "): default for key, default, _ in rows(table)}
    expected = dataclasses.asdict(Scenario())
    assert list(found) == list(expected)
    stated = {key: yaml.safe_load(default.strip("`")) for key, default in found.items() if key != "rivals"}
    assert stated == {key: value for key, value in expected.items() if key != "rivals"}


def test_the_rivals_of_a_scenario_are_as_many_as_its_row_says() -> None:
    names = [rival["name"] for rival in Scenario().rivals]
    assert [name for name in names if name in ("x264", "av1", "roi_av1")] == names[6:]
    assert len(names) in (6, 9)


@pytest.mark.parametrize("name", codecs.names())
def test_every_option_of_a_codec_is_in_its_row(name: str) -> None:
    page = (ROOT / "docs" / "codecs.md").read_text(encoding="utf-8")
    table = page.partition("## What there is")[2].partition("## How to choose")[0]
    options = {cells[0].strip("` "): cells[2] for cells in rows(table)}
    assert sorted(re.findall(r"`(\w+)`", options[name])) == sorted(f.name for f in dataclasses.fields(codecs.get(name)))


def test_the_commands_for_containers_name_what_there_is() -> None:
    """The images are not built here: services, profiles, environment files and Flower's commands exist."""
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    text = page.partition("## With containers")[2]
    services = yaml.safe_load((DEPLOYMENT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    profiles = {profile for service in services.values() for profile in service["profiles"]}
    flower = get_command(app)
    commands = [shlex.split(line) for line in text.splitlines() if line.strip().startswith("docker compose")]
    assert sum(words[4:] == ["run", "--rm", "flwr", "supernode", "register", "$key", "fog"] for words in commands) == 1
    for words in commands:
        assert words[2] == "--env-file"
        assert (DEPLOYMENT / words[3]).is_file()
        if words[4] == "--profile":
            assert words[5] in profiles
        elif words[4] == "build":
            assert set(words[5:]) <= set(services)
        else:
            assert words[4:6] == ["run", "--rm"]
            assert words[6] in services
            assert words[7] in flower.commands  # type: ignore[attr-defined]
    register = "for key in /etc/rinr-flower/nodes/*.pub; do"
    assert page.count(register) == 2, "on a bare machine and with containers"
