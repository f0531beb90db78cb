"""README and docs state what the committed results hold, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from number_texts import TEXTS
from readme_numbers import BLOCK, PAGES, RESULTS, rewritten

ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*(?!\w)")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_states_what_the_results_hold(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == rewritten(text), f"{page} is out of date: python benchmarks/readme_numbers.py writes it anew"


def test_the_readme_gives_no_result_that_no_command_has_made() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results\n")[2].partition("\n## ")[0]
    assert BLOCK.search(section)
    by_hand = re.sub(r"`[^`]*`", "", BLOCK.sub("", section))
    assert NUMBER.findall(by_hand) == []


def test_every_text_stands_on_a_page() -> None:
    named = {found[2] for page in PAGES for found in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))}
    assert named == set(TEXTS)


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_text_names_its_command_and_says_what_is_not_measured(name: str, tmp_path: Path) -> None:
    assert re.fullmatch(r"Not measured yet: `.*python benchmarks/(\w+\.py).*`\.", TEXTS[name](tmp_path))
    script = re.search(r"benchmarks/(\w+\.py)", TEXTS[name](tmp_path))
    assert script
    assert (ROOT / "benchmarks" / script[1]).is_file()


def test_another_result_makes_another_page(tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(RESULTS, results, ignore=shutil.ignore_patterns("*.svg", "*.png"))
    found = json.loads((results / "main_job.json").read_text(encoding="utf-8"))
    found["runs"][0]["map50"] = 0.123
    (results / "main_job.json").write_text(json.dumps(found), encoding="utf-8")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "| 0.123 |" not in text
    assert "| 0.123 |" in rewritten(text, results)
