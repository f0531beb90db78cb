"""Tables of what model updates take."""

from __future__ import annotations

from pathlib import Path

from .markdown import read, table
from .results import Row


def update_sizes(results: Path) -> str:
    """Bytes that keep the accuracy of the full update less one point, by compressor and scenario."""
    claims = claims_of(results)
    names = list(dict.fromkeys(name for _, c in claims for name in c["needed"]))
    cells = {n: [_update_cell(c["needed"].get(n)) for _, c in claims] for n in names}
    order = sorted(names, key=lambda n: -(claims[0][1]["needed"].get(n) or {"bytes": 0})["bytes"])
    rows = [(f"**{n}**" if n == "factorised" else n, *cells[n]) for n in order if any(cell != "-" for cell in cells[n])]
    return table(("bytes of one update; test accuracy, spread", *(name for name, _ in claims)), rows)


def _update_cell(found: Row | None) -> str:
    return "-" if found is None else f"{found['bytes']:,.0f}; {found['test']:.3f}, {found['test_stdev']:.3f}"


def update_claims(results: Path) -> str:
    """The bytes of our own compressors over those of the best rival, with and without our coding."""
    claims = claims_of(results)
    rows = [
        (f"`{ours}`, {name}", *(_update_share(c[f"{ours}_against_{group}"]) for group in ("published", "all")))
        for ours in ("factorised", "quantised")
        for name, c in claims
    ]
    heads = ((claims[0][1][f"factorised_against_{group}"]["allowed"], group) for group in ("published", "all"))
    names = {"published": "the best as published", "all": "the best of all, with our coding too"}
    return table(("bytes", *(f"of {names[group]} (goal {100 * bar:.0f} %)" for bar, group in heads)), rows)


def _update_share(found: Row) -> str:
    return "-" if found["share"] is None else f"{100 * found['share']:.0f} % of {found['best']}"


def update_federation(results: Path) -> str:
    """Bytes of all updates of a federation and the accuracy at its end, by compressor and condition."""
    found = read(results / "update_federation.json")["summary"]
    names = list(dict.fromkeys(name for series in found.values() for name in series))
    rows = [(name, *(_federation_cell(found[condition].get(name)) for condition in found)) for name in names]
    return table(("kB in all; test accuracy; kB at FedAvg's accuracy less a point", *found), rows)


def _federation_cell(found: Row | None) -> str:
    if found is None:
        return "-"
    reached = "-" if found["reaching"] is None else f"{found['reaching']['sent'] / 1000:,.0f}"
    return f"{found['sent'] / 1000:,.0f}; {found['test']:.3f}; {reached}"


def claims_of(results: Path) -> list[tuple[str, Row]]:
    """Scenarios of the update benchmark by their names on the page."""
    return list(read(results / "updates_digits.json")["summary"].items())
