"""Pictures of README and docs: what the scripts draw, and that no picture asks another host for anything."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from benchmark_scripts import script

from rinr_flower.report import RunRecord
from rinr_flower.simulations.ending import ending

PICTURES = sorted((Path(__file__).parents[2] / "docs" / "images").glob("*.svg"))


def words(picture: Path) -> str:
    texts = ElementTree.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")
    return " ".join(" ".join(text.text or "" for text in texts).split())


def test_the_terminal_shows_what_a_run_printed(
    saved_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "terminal.svg"
    monkeypatch.setattr(sys, "argv", ["terminal_picture.py", str(saved_run), str(out)])
    script("terminal_picture").main()
    shown = words(out).replace("\N{NO-BREAK SPACE}", " ")
    for line in ending(RunRecord.load(saved_run))[:2]:
        assert line.split(",")[0] in shown
    assert f"Report: runs/{saved_run.name}/report.html" in shown
    assert "Ways to share the same captures" in shown


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_whole_and_stays_at_home(picture: Path) -> None:
    text = picture.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\s\"<)]+", text)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert picture.name == "terminal.svg" or "prefers-color-scheme: dark" in text
