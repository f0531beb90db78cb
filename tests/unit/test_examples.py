"""The examples that no other test runs, and what all of them promise."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_LINES = 60


def test_the_notebook_decodes_and_draws(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells run in order in one namespace, as a kernel does; they are plain Python."""
    drawn: list[int] = []

    def show() -> None:
        drawn.append(len(plt.gcf().axes))
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    notebook = json.loads((EXAMPLES / "decode_a_payload" / "decode_a_payload.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {}
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert drawn == [1, 4, 2]
    files, payload = re.match(
        r"([\d,]+) bytes of JPEG files, ([\d,]+) bytes of payload", capsys.readouterr().out
    ).groups()
    assert int(payload.replace(",", "")) < int(files.replace(",", "")) / 10


@pytest.mark.system
def test_training_without_flower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "1"])
    script = (EXAMPLES / "train_without_flower" / "train.py").read_text(encoding="utf-8")
    assert script.count('"sample:sequences=4"') == 1
    small = script.replace("sample:sequences=4", "sample:sequences=1,width=128,height=96").replace(
        "imgsz=160", "imgsz=64"
    )
    (tmp_path / "train.py").write_text(small, encoding="utf-8")
    runpy.run_path("train.py", run_name="__main__")
    assert (tmp_path / "runs" / "without_flower" / "weights" / "last.pt").is_file()


def test_every_example_is_listed_and_short() -> None:
    folders = {p.name for p in EXAMPLES.iterdir() if p.is_dir() and p.name != "__pycache__"}
    listed = set(re.findall(r"^\| \[(\w+)\]\(\1\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == folders
    for folder in folders - {"deployment"}:
        assert (EXAMPLES / folder / "README.md").is_file()
        for script in (EXAMPLES / folder).rglob("*.py"):
            lines = script.read_text(encoding="utf-8").splitlines()
            assert sum(bool(line.strip()) for line in lines) <= MOST_LINES, script
