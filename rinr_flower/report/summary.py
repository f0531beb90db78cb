"""The report's figures in plain values: what ``report.json`` holds and what the page shows (schema: docs/report.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.errors import RinrError
from rinr_flower.registry import build_dataclass
from rinr_flower.report.outlook import crossovers, graph_rows, profile_rows, scale_rows
from rinr_flower.report.record import RunRecord, to_json
from rinr_flower.report.rows import BASELINE, accuracy_rows, codec_rows, device_rows, round_rows, scheme_row
from rinr_flower.report.schemes import schemes_of

SCHEMA_VERSION = 1


def summarise(record: RunRecord, *, title: str = "") -> dict[str, Any]:
    """Everything the report says about one run, as JSON values (NaN is None)."""
    missing = list(record.missing)
    link = link_of(record, missing)
    schemes = schemes_of(record)
    if not schemes:
        missing.append("no payload is recorded: nothing was encoded, so there is nothing to compare")
    codecs = codec_rows(record)
    accuracy = accuracy_rows(record.accuracy)
    rows = [scheme_row(s, schemes, link, record) for s in schemes]
    answer = headline(rows, codecs, accuracy)
    return to_json(  # type: ignore[no-any-return]
        {
            "schema": "rinr_flower.report",
            "version": SCHEMA_VERSION,
            "title": title or (record.folder.name if record.folder else "run"),
            "headline": answer,
            "schemes": rows,
            "kinds": [
                {"kind": kind, "payload_bytes": payload, "message_bytes": message}
                for kind, (payload, message) in record.ledger.sent().by_kind().items()
            ],
            "rounds": round_rows(record),
            "codecs": codecs,
            "accuracy": accuracy,
            "crossovers": crossovers(record),
            "profiles": profile_rows(schemes, compared(rows, answer), link),
            "graphs": graph_rows(record),
            "scale": scale_rows(record, link),
            "devices": device_rows(record),
            "failures": record.failures,
            "decisions": record.decisions,
            "examples": record.examples,
            "link": link,
            "scenario": record.scenario,
            "environment": record.environment,
            "missing": missing,
        }
    )


def link_of(record: RunRecord, missing: list[str]) -> LinkModel:
    """The scenario's link model; the default, and a note, if the scenario's is not valid here."""
    options = record.scenario.get("link") or {}
    try:
        return build_dataclass(LinkModel, options if isinstance(options, Mapping) else {}, where="scenario key 'link'")
    except RinrError as error:
        missing.append(f"the scenario's link model is not valid ({error}); times are for the default link")
        return LinkModel()


def compared(rows: Sequence[Mapping[str, Any]], answer: Mapping[str, Any]) -> list[str]:
    """Names of the schemes worth a row in every table: the run's own, plain JPEG on both routes, the best rivals."""
    best = [r["name"] for r in answer.get("rivals", ()) if r["as_good"]][:1]
    smallest = [r["name"] for r in answer.get("rivals", ())][:1]
    return list(dict.fromkeys([r["name"] for r in rows if r["own"]] + [BASELINE, "fog jpeg", *best, *smallest]))


def headline(
    schemes: Sequence[Mapping[str, Any]], codecs: Sequence[Mapping[str, Any]], accuracy: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The answer: gain over serverless JPEG in bytes and link time, mAP kept, and the strongest rival on each route."""
    own = next((s for s in schemes if s["own"]), None)
    base = next((s for s in schemes if s["name"] == BASELINE), None)
    values: dict[str, Any] = {}
    if own and base and own["payload_bytes"]:
        values |= {
            "scheme": own["name"],
            "codec": own["codec"],
            "bytes": own["payload_bytes"],
            "baseline_bytes": base["payload_bytes"],
            "gain": own["gain"],
            "link_seconds": own["link_seconds"],
            "baseline_link_seconds": base["link_seconds"],
            "total_seconds": _end_to_end(own),
            "baseline_total_seconds": _end_to_end(base),
            "object_db": next((c["object_db"] for c in codecs if c["own"]), math.nan),
            "rivals": rivals(schemes, codecs, own),
        }
    final = {row["scheme"]: row for row in accuracy}
    start = next((row for row in accuracy if row["scheme"] == "" and row["round"] == 0), None)
    if "" in final:
        values |= {"map50": final[""]["map50"], "map50_95": final[""]["map50_95"]}
    if start:
        values |= {"start_map50": start["map50"], "start_map50_95": start["map50_95"]}
    if "jpeg" in final:
        values |= {"jpeg_map50": final["jpeg"]["map50"], "jpeg_map50_95": final["jpeg"]["map50_95"]}
    return values


def rivals(
    schemes: Sequence[Mapping[str, Any]], codecs: Sequence[Mapping[str, Any]], own: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The other schemes, fewest bytes first; ``as_good`` are those at most 1 dB below the run's own object PSNR."""
    quality = {row["name"]: row["object_db"] for row in codecs} | {"jpeg": math.inf}
    target = quality.get(own["codec"], math.nan)
    rows = [
        {
            "name": s["name"],
            "bytes": s["payload_bytes"],
            "ratio": s["payload_bytes"] / own["payload_bytes"],
            "object_db": quality[s["codec"]],
            "as_good": quality[s["codec"]] >= target - 1,
        }
        for s in schemes
        if not s["own"] and s["codec"] in quality
    ]
    return sorted(rows, key=lambda r: float(r["bytes"]))


def _end_to_end(row: Mapping[str, Any]) -> float:
    """Time from capture to trained detector; NaN if decoding was not measured, which would flatter the scheme."""
    return math.nan if math.isnan(row["decode_seconds"]) else float(row["total_seconds"])
