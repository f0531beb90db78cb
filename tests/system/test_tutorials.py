"""The tutorials that a reader follows command by command; that of strategies is in tests/unit/test_strategy_docs.py."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, blocks, follow

from rinr_flower.report import RunRecord

pytestmark = pytest.mark.system

TUTORIALS = ROOT / "docs" / "tutorials"
SHORT = "--weights scratch --rounds 1 --set steps=1 --set image_size=64 --set rivals=[]"


def short(command: str) -> str:
    return f"{command} {SHORT}" if command.startswith("flower-simulation") else command


def test_a_folder_of_ones_own_is_shared_as_printed(tmp_path: Path) -> None:
    """All but the first command, which the page shows before the data are there and prints again."""
    first = next(iter(blocks(TUTORIALS / "own_data.md"))).text.strip()
    seen: list[str] = []

    def adapted(command: str) -> str | None:
        seen.append(command)
        return None if seen == [first] else short(command)

    done = follow(TUTORIALS / "own_data.md", tmp_path, {"RINR_CACHE": str(tmp_path / "cache")}, adapted)
    assert first in done
    assert len(list((tmp_path / "first").iterdir())) == 16
    assert (tmp_path / "detector.pt").stat().st_size > 6e6  # tests/unit/test_trained_model.py opens one
    records = [RunRecord.load(tmp_path / "runs" / name) for name in ("scene", "avif")]
    assert [len(record.payloads) for record in records] == [4, 4]
    assert records[0].devices == records[1].devices, "both runs deal the same frames"
    assert "`comparison/comparison.html`" in (TUTORIALS / "own_data.md").read_text(encoding="utf-8")
    assert (tmp_path / "comparison" / "comparison.html").is_file()


def test_a_codec_of_ones_own_works_as_printed(tmp_path: Path) -> None:
    site, page = tmp_path / "site", TUTORIALS / "codec.md"
    folder = tmp_path / "package"
    folder.mkdir()

    def adapted(command: str) -> str:
        if command == "pip install .":
            return f"pip install -q --no-deps --target {site} ."
        return f"cd {ROOT} && {command}" if command.startswith("pytest") else short(command)

    done = follow(page, folder, {"PYTHONPATH": str(site)}, adapted)
    programs = [command.split()[0] for command in done]
    assert programs == ["rinr", "pip", *["rinr"] * 4, "flower-simulation", "pytest"]
    (run,) = (folder / "runs").iterdir()
    record = RunRecord.load(run)
    assert not record.failures
    assert {payload.codec for payload in record.payloads} == {"standing"}
    for name in ("standing_codec.py", "pyproject.toml"):
        printed = (folder / name).read_text(encoding="utf-8")
        assert printed == (ROOT / "examples" / "own_codec" / name).read_text(encoding="utf-8")
