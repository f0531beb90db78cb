"""The file that a benchmark leaves its result in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rinr_flower.files import write_file


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write JSON, in a folder that is made if need be; a reader sees the whole of it or what was there before."""
    write_file(path, (json.dumps(result, indent=1) + "\n").encode())
