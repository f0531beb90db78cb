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
    """One column: its head, the key of its values, and how a value is written (None: as text)."""

    head: str
    key: str
    write: Callable[[Any], str] | None = None
    long: bool = False


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, own: str = "own") -> Html:
    """A table whose columns sort by their heads; the row in which ``own`` is true stands out."""
    head = element(
        "tr",
        *(
            element("th", element("button", c.head, type="button"), class_=None if c.write else "text", scope="col")
            for c in columns
        ),
    )
    body = [
        element("tr", *(_cell(c, row.get(c.key)) for c in columns), class_="own" if row.get(own) else None)
        for row in rows
    ]
    content = element("table", element("thead", head), element("tbody", *body))
    return element("div", content, class_="table", tabindex="0", role="region", aria_label="table")


def _cell(column: Column, value: Any) -> Html:
    if column.write is None:
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else "" if value is None else str(value)
        return element("td", text, class_="long" if column.long else "text", data_value=text)
    key = number(value)
    return element("td", column.write(value), data_value="" if math.isnan(key) else key)
