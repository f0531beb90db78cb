"""The one printed simulation that is cheap enough for the tests, as it stands in docs/simulation.md."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rinr_flower.report import RunRecord

pytestmark = pytest.mark.system

COMMAND = "flower-simulation --config quick"


def test_the_quick_scenario_runs_as_printed(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "simulation.md"
    assert f"{COMMAND}\n" in page.read_text(encoding="utf-8")
    words = shlex.split(COMMAND)
    words[0] = str(Path(sys.executable).with_name(words[0]))
    env = {**os.environ, "RINR_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    record = RunRecord.load(run)
    assert not record.failures
    assert {p.codec for p in record.payloads} == {"scene"}
    assert len(record.payloads) == 3 * 2
    assert (run / "report.html").is_file()
