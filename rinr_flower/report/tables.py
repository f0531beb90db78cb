"""Sortable tables of the report page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rinr_flower.report.html import Html, element
from rinr_flower.report.units import number


@dataclass(frozen=True)
class Column:
    """One column: its head, the key of its values, and how a value is written (None: as text).

    Rows in which the value under ``about`` is true have "≈" before it: it was extrapolated.
    """

    head: str
    key: str
    write: Callable[[Any], str] | None = None
    long: bool = False
    about: str = ""


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, own: str = "own") -> Html:
    """A table whose columns sort by their heads; the row in which ``own`` is true stands out."""
    head = element(
        "tr",
        *(
            element("th", element("button", c.head, type="button"), class_=None if c.write else "text", scope="col")
            for c in columns
        ),
    )
    body = [element("tr", *(_cell(c, row) for c in columns), class_="own" if row.get(own) else None) for row in rows]
    content = element("table", element("thead", head), element("tbody", *body))
    return element("div", content, class_="table", tabindex="0", role="region", aria_label="table")


def _cell(column: Column, row: Mapping[str, Any]) -> Html:
    value = row.get(column.key)
    if column.write is None:
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else "" if value is None else str(value)
        return element("td", text, class_="long" if column.long else "text", data_value=text)
    key = number(value)
    text = f"≈{column.write(value)}" if key and row.get(column.about) else column.write(value)
    return element("td", text, data_value="" if math.isnan(key) else key)
