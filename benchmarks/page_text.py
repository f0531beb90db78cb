"""Pieces of Markdown: paragraphs, tables, and spans of numbers in words."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def percents(shares: Sequence[float]) -> str:
    """Least and largest share as whole per cent."""
    return f"{100 * min(shares):.0f} to {100 * max(shares):.0f} %"


def span(values: Iterable[float]) -> str:
    """Least and largest value with two digits."""
    found = sorted(values)
    return f"{found[0]:.2f} to {found[-1]:.2f}" if found else "an unknown share"


def whole_span(values: Sequence[int]) -> str:
    """Least and largest value, or the one that all are."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def paragraphs(*parts: str) -> str:
    """Parts with an empty line between them."""
    return "\n\n".join(parts)


def prose(text: str) -> str:
    """Text in lines of at most 140 characters."""
    return textwrap.fill(text, 140, break_long_words=False, break_on_hyphens=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with one line a row."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def read(path: Path) -> Any | None:
    """The content of a results file; None if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def not_measured(command: str) -> str:
    """What a page says instead of results."""
    return f"Not measured yet: `{command}`."
