"""README and docs state what the committed results hold, and nothing else."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from benchmark_scripts import script
from lib.results import FOLDER
from lib.tables import SENTENCES, TABLES

numbers = script("readme_numbers")
ROOT = Path(__file__).parents[2]
NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*(?!\w)")


@pytest.mark.parametrize("page", numbers.PAGES)
def test_a_page_states_what_the_results_hold(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == numbers.rewritten(text), f"{page} is out of date: python benchmarks/readme_numbers.py writes it anew"


def test_the_readme_has_one_table_of_at_most_eight_rows_and_no_other_figures() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    results, limits = (text.partition(f"## {name}\n")[2].partition("\n## ")[0] for name in ("Results", "Honest limits"))
    (block,) = numbers.BLOCK.finditer(results)
    assert len(block[3].splitlines()) - 2 <= 8
    by_hand = re.sub(r"`[^`]*`", "", numbers.BLOCK.sub("", results) + limits)
    assert NUMBER.findall(by_hand) == []


def test_the_readme_is_two_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 125


def test_the_first_command_takes_as_long_as_the_readme_says() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (minutes,) = re.findall(r"on two CPU cores in about (\w+) minutes", text)
    found = json.loads((FOLDER / "main_job.json").read_text(encoding="utf-8"))
    assert max(row["seconds"] for row in found["rows"]) < 60 * {"three": 3, "four": 4}[minutes]


def test_pages_mark_what_was_measured_before_results_named_their_code() -> None:
    pages = {
        "results": ("encode", "encode_to_the_end"),
        "scale": ("encode_scale", "scale"),
        "decoding": ("speed_decode",),
        "detection": ("speed_train",),
        "augmentation": ("speed_augment",),
        "codecs": ("quality",),
        "scene": ("scene", "accuracy_images"),
    }
    unnamed = {p.stem for p in FOLDER.glob("*.json") if not json.loads(p.read_text(encoding="utf-8"))["code"]}
    assert unnamed <= {name for names in pages.values() for name in names}
    for page, names in pages.items():
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").lower()
        assert ("earlier version" in text) == bool(unnamed & set(names)), page


def test_every_table_stands_on_a_page() -> None:
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in numbers.PAGES]
    assert {found[2] for text in pages for found in numbers.BLOCK.finditer(text)} == set(TABLES | SENTENCES)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_block_is_a_table(name: str) -> None:
    lines = TABLES[name](FOLDER).splitlines()
    assert len(lines) > 2
    assert {line.count("|") for line in lines} == {lines[0].count("|")}


def test_another_result_makes_another_page(tmp_path: Path) -> None:
    results = tmp_path / "results"
    shutil.copytree(FOLDER, results, ignore=shutil.ignore_patterns("*.png"))
    found = json.loads((results / "main_job.json").read_text(encoding="utf-8"))
    found["rows"][0]["map50"] = 0.123
    (results / "main_job.json").write_text(json.dumps(found), encoding="utf-8")
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "| 0.123 |" not in text
    assert "| 0.123 |" in numbers.rewritten(text, results)


def test_results_of_other_code_are_named(tmp_path: Path) -> None:
    found = json.loads((FOLDER / "main_job.json").read_text(encoding="utf-8"))
    (tmp_path / "main_job.json").write_text(json.dumps({**found, "code": {"0" * 16: ["rinr_flower.quality"]}}))
    (tmp_path / "gone.json").write_text(json.dumps({**found, "code": {"0" * 16: ["rinr_flower.no_such_module"]}}))
    lines = numbers.stale(tmp_path)
    rows = len(found["rows"])
    assert lines == [
        f"gone.json: {rows} of {rows} rows are of other code (rinr_flower.no_such_module)",
        f"main_job.json: {rows} of {rows} rows are of other code (rinr_flower.quality)",
    ]
