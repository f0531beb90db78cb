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
from rinr_flower.report.schemes import Scheme, captures_of, schemes_of, start_models, with_plausible_sizes
from rinr_flower.report.timing import turning_rate

SCHEMA_VERSION = 1


def summarise(record: RunRecord, *, title: str = "") -> dict[str, Any]:
    """Everything the report says about one run, as JSON values (NaN is None)."""
    missing = list(record.missing)
    record = with_plausible_sizes(record, missing)
    link = link_of(record, missing)
    schemes = schemes_of(record)
    if not schemes:
        missing.append("no payload is recorded, so there is nothing to compare")
    codecs = codec_rows(record)
    accuracy = accuracy_rows(record.accuracy)
    rows = [scheme_row(s, schemes, link, record) for s in schemes]
    answer = headline(rows, codecs, accuracy) | times(schemes, record, link) | totals(record)
    return to_json(  # type: ignore[no-any-return]
        {
            "schema": "rinr_flower.report",
            "version": SCHEMA_VERSION,
            "title": title or (record.folder.name if record.folder else "run"),
            "headline": answer,
            "schemes": rows,
            "kinds": [
                {"kind": kind, "payload_bytes": payload, "message_bytes": message}
                for kind, (payload, message) in record.ledger.by_kind().items()
            ],
            "rounds": round_rows(record),
            "codecs": codecs,
            "captures": len(captures_of(record)),
            "stored_bytes": sum(item.stored_bytes for item in record.stored),
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
    """The answer: the run's own way in bytes and time beside serverless JPEG, its rivals, and the winner of all.

    Without a byte of serverless JPEG (one device, or empty camera files) there is nothing to compare with.
    """
    own = next((s for s in schemes if s["own"]), None)
    base = next((s for s in schemes if s["name"] == BASELINE), None)
    values: dict[str, Any] = {}
    if own and base and own["payload_bytes"] and base["payload_bytes"]:
        others = rivals(schemes, codecs, own)
        quality = next((c for c in codecs if c["own"]), {})
        this = {"name": own["name"], "bytes": own["payload_bytes"], "ratio": 1.0, "coverage": own["coverage"]}
        as_good = [this, *(r for r in others if r["as_good"])]
        values |= {
            "scheme": own["name"],
            "codec": own["codec"],
            "bytes": own["payload_bytes"],
            "total_bytes": own["total_bytes"],
            "baseline_bytes": base["payload_bytes"],
            "baseline_total_bytes": base["total_bytes"],
            "gain": own["gain"],
            "link_seconds": own["link_seconds"],
            "baseline_link_seconds": base["link_seconds"],
            "total_seconds": own["total_seconds"],
            "baseline_total_seconds": base["total_seconds"],
            "object_db": quality.get("object_db", math.nan),
            "frame_db": quality.get("frame_db", math.nan),
            "winner": min(as_good, key=lambda r: float(r["bytes"])),
            "compared_ways": len(as_good),
            "rivals": others,
        }
    start = next((row for row in accuracy if row["round"] == 0), None)
    if accuracy:
        last = accuracy[-1]
        values |= {key: last[key] for key in ("map50", "map50_95", "least_map50", "near_zero")}
    if start:
        values |= {"start_map50": start["map50"], "start_map50_95": start["map50_95"]}
    return values


def times(schemes: Sequence[Scheme], record: RunRecord, link: LinkModel) -> dict[str, Any]:
    """The link rate below which the run is done before serverless JPEG."""
    base = next((s for s in schemes if s.name == BASELINE), None)
    if base is None or base is schemes[0]:
        return {}
    return {"rate_bytes_per_s": link.rate_bytes_per_s, "turning_rate": turning_rate(schemes[0], base, record, link)}


def totals(record: RunRecord) -> dict[str, Any]:
    """Bytes of the start model in all its messages, and in how many."""
    started = start_models(record.ledger)
    return {"start_model_bytes": started.message_bytes, "start_models": len(started)}


def rivals(
    schemes: Sequence[Mapping[str, Any]], codecs: Sequence[Mapping[str, Any]], own: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The other schemes that share images, fewest bytes first.

    ``as_good`` are those whose PSNR is at most 1 dB below the run's own, over the boxes and over the frame.
    """
    regions = ("object_db", "frame_db")
    quality = {row["name"]: row for row in codecs} | {"jpeg": dict.fromkeys(regions, math.inf)}
    target = quality.get(own["codec"], {})
    rows = [
        {
            "name": s["name"],
            "bytes": s["payload_bytes"],
            "ratio": s["payload_bytes"] / own["payload_bytes"],
            "coverage": s["coverage"],
            **{region: quality[s["codec"]][region] for region in regions},
            "as_good": all(
                quality[s["codec"]][region] >= target[region] - 1
                for region in regions
                if not math.isnan(target.get(region, math.nan))
            ),
        }
        for s in schemes
        if not s["own"] and s["codec"] in quality
    ]
    return sorted(rows, key=lambda r: float(r["bytes"]))
