"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
import torch

# Tests import the benchmarks' package as ``lib``. The folder of their scripts, whose names are common words, is on the
# path for this one import only.
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
importlib.import_module("lib")
del sys.path[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="also run the tests marked system and data, as CI does")


def pytest_configure(config: pytest.Config) -> None:
    """Apply ``--all``: no selection by markers. Without it, pyproject's ``addopts`` leave out system and data.

    With ``-n``, each worker takes its share of torch's threads.
    """
    if config.getoption("--all"):
        config.option.markexpr = ""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(torch.get_num_threads() // workers, 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With ``-n``, tests of ``tests/system`` run one after another in one worker; Ray's would wait for each other."""
    for item in items:
        if item.path.parent.name == "system":
            item.add_marker(pytest.mark.xdist_group("system"))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real sequences, where RINR_DATA says; tests that use this are skipped without it (and marked ``data``)."""
    path = os.environ.get("RINR_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("RINR_DATA does not name a folder of real sequences")
    return Path(path)
