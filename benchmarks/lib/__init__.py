"""Shared by the benchmarks. Parts that the tests use too are in tests/shared, which is put on the path here."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests" / "shared"))
