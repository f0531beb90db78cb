"""Fixtures that several kinds of tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real sequences, where RINR_DATA says; tests that use this are skipped without it (and marked ``data``)."""
    path = os.environ.get("RINR_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("RINR_DATA does not name a folder of real sequences")
    return Path(path)
