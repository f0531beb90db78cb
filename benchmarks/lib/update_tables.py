"""Tables of what model updates take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .markdown import read, table
from .results import Row

MODELS = {"digits": "small CNN", "textures": "depthwise CNN", "yolo": "YOLOv8n"}
"""Families of the update benchmark, each in a file of its own, to their models."""


def update_sizes(results: Path) -> str:
    """Bytes that keep the accuracy of the full update less one point, by compressor and scenario."""
    claims = claims_of(results)
    names = list(dict.fromkeys(name for *_, c in claims for name in c["needed"]))
    cells = {n: [_update_cell(c["needed"].get(n)) for *_, c in claims] for n in names}
    order = sorted(names, key=lambda n: -(claims[0][-1]["needed"].get(n) or {"bytes": 0})["bytes"])
    rows = [(f"**{n}**" if n == "factorised" else n, *cells[n]) for n in order if any(cell != "-" for cell in cells[n])]
    heads = (f"{model}, {scenario} ({c['seeds']} seeds)" for model, scenario, c in claims)
    return table(("bytes of one update; test score, spread", *heads), rows)


def _update_cell(found: Row | None) -> str:
    return "-" if found is None else f"{found['bytes']:,.0f}; {found['test']:.3f}, {found['test_stdev']:.3f}"


def update_claims(results: Path) -> str:
    """The bytes of our own compressors over those of the best rival, with and without our coding."""
    claims = claims_of(results)
    rows = [
        (
            f"`{ours}`, {model}, {scenario}",
            *(_update_share(c[f"{ours}_against_{group}"]) for group in ("published", "all")),
        )
        for ours in ("factorised", "quantised")
        for model, scenario, c in claims
    ]
    heads = ((claims[0][-1][f"factorised_against_{group}"]["allowed"], group) for group in ("published", "all"))
    names = {"published": "the best as published", "all": "the best of all, with our coding too"}
    return table(("bytes", *(f"of {names[group]} (goal {100 * bar:.0f} %)" for bar, group in heads)), rows)


def update_shares(results: Path) -> str:
    """By model: the shares of `factorised` in the best rival as published, and with our coding too, over scenarios."""
    claims = claims_of(results)
    texts = []
    for model in dict.fromkeys(model for model, *_ in claims):
        mine = [c for m, _, c in claims if m == model]
        published, every = ([c[f"factorised_against_{g}"]["share"] for c in mine] for g in ("published", "all"))
        reached = sum(share is not None for share in published)
        note = "" if reached == len(mine) else f" (accuracy reached in {reached} of {len(mine)} scenarios)"
        texts.append(f"{model}{note} {_span(published)} / {_span(every)}")
    return "; ".join(texts)


def _span(shares: Sequence[float | None]) -> str:
    """The least and the greatest share of the scenarios that have one."""
    reached = sorted(share for share in shares if share is not None)
    return " to ".join(dict.fromkeys(f"{share:.2f}" for share in (*reached[:1], *reached[-1:]))) or "-"


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


def claims_of(results: Path) -> list[tuple[str, str, Row]]:
    """Model, scenario and claims of the families of the update benchmark that have been measured."""
    found = [(model, results / f"updates_{family}.json") for family, model in MODELS.items()]
    return [
        (model, scenario, claims)
        for model, path in found
        if path.is_file()
        for scenario, claims in read(path)["summary"].items()
    ]
