"""Tables in Markdown, and the result files that they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .results import read_result


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def read(path: Path) -> dict[str, Any]:
    """The content of a result file. FileNotFoundError if there is none."""
    found = read_result(path)
    if found is None:
        raise FileNotFoundError(f"{path}: no such result file")
    return found
