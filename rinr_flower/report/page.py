"""A self-contained page: no file, no font and no request outside of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rinr_flower.report.chart import Chart
from rinr_flower.report.html import Html, element

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, *sections: Html, script: str = "", connects: bool = False) -> str:
    """A whole page around ``sections``; its own policy forbids any request to the network.

    ``script`` comes after the page's own; ``connects`` lets it ask the server that the page comes from.
    """
    style = Html((_HERE / "page.css").read_text(encoding="utf-8"))
    own = Html((_HERE / "page.js").read_text(encoding="utf-8"))
    policy = f"{_POLICY}; connect-src 'self'" if connects else _POLICY
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("title", title),
        element("style", style),
    )
    tip = element("div", id="tip", hidden=True, role="status")
    scripts = [element("script", code) for code in (own, Html(script)) if code]
    body = element("body", element("main", *sections), tip, *scripts)
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def section(heading: str, content: Html | None) -> Html:
    """A headed section; empty without content."""
    return element("section", element("h2", heading), content) if content else Html()


def missing_note(missing: Sequence[str]) -> Html:
    """List what could not be found or read; empty if there is nothing to list."""
    if not missing:
        return Html()
    items = element("ul", *(element("li", text) for text in missing))
    return element(
        "div", element("b", "This run is not complete; the report shows what is there."), items, class_="warn"
    )


def figure(chart: Chart | None) -> Html | None:
    """A chart with its title and caption."""
    if chart is None:
        return None
    return element("figure", element("h3", chart.title), chart.inline(), element("figcaption", chart.caption))


def charts(*figures: Chart | None) -> Html | None:
    """Charts side by side where there is room."""
    known = [figure(f) for f in figures if f is not None]
    return element("div", *known, class_="charts") if known else None
