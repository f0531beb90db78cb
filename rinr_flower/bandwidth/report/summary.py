"""The report's figures in plain values: what ``report.json`` holds and what the page shows (schema: docs/report.md)."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from rinr_flower.bandwidth import model
from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.run import AccuracyRecord, PayloadRecord, RunRecord, to_json
from rinr_flower.bandwidth.schemes import Scheme, captures_of, data_entries, other_entries, receivers_of, schemes_of
from rinr_flower.errors import RinrError
from rinr_flower.registry import build_dataclass

SCHEMA_VERSION = 1
BASELINE = "serverless jpeg"


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
    return to_json(  # type: ignore[no-any-return]
        {
            "schema": "rinr_flower.report",
            "version": SCHEMA_VERSION,
            "title": title or (record.folder.name if record.folder else "run"),
            "headline": headline(rows, codecs, accuracy),
            "schemes": rows,
            "kinds": [
                {"kind": kind, "payload_bytes": payload, "message_bytes": message}
                for kind, (payload, message) in record.ledger.sent().by_kind().items()
            ],
            "rounds": round_rows(record),
            "codecs": codecs,
            "accuracy": accuracy,
            "crossovers": crossovers(record),
            "devices": device_rows(record),
            "failures": record.failures,
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


def scheme_row(scheme: Scheme, schemes: Sequence[Scheme], link: LinkModel, record: RunRecord) -> dict[str, Any]:
    """Bytes, prediction, gain, time and energy of one scheme."""
    base = next((s for s in schemes if s.name == BASELINE), None)
    kinds = {kind: payload for kind, (payload, _) in scheme.ledger.by_kind().items()}
    return {
        "name": scheme.name,
        "route": scheme.route,
        "codec": scheme.codec,
        "evidence": scheme.evidence,
        "coverage": scheme.coverage,
        "own": scheme is schemes[0],
        "up_bytes": kinds.get("upload", 0),
        "down_bytes": kinds.get("payload", 0),
        "across_bytes": kinds.get("share", 0),
        "predicted_bytes": round(scheme.predicted.total),
        "payload_bytes": scheme.payload_bytes,
        "overhead_bytes": scheme.overhead_bytes,
        "message_bytes": scheme.message_bytes,
        "gain": base.payload_bytes / scheme.payload_bytes if base and scheme.payload_bytes else math.nan,
        "link_seconds": link.seconds(scheme.ledger),
        "link_joules": link.joules(scheme.ledger),
    }


def codec_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Bytes per frame and quality of the camera files, the run's codec and every control; means weighted by frames."""
    frames = {(p.round, p.device, p.clip): p for p in record.payloads}
    groups: dict[str, list[tuple[PayloadRecord, int, tuple[float, float, float], float]]] = defaultdict(list)
    for p in record.payloads:
        groups[p.codec].append((p, p.payload_bytes, (p.frame_db, p.background_db, p.object_db), p.encode_seconds))
    own = {p.codec for p in captures_of(record)}
    for c in record.controls:
        payload = frames.get((c.round, c.device, c.clip))
        if payload is not None:
            quality = (c.frame_db, c.background_db, c.object_db)
            groups[c.name].append((payload, c.bytes, quality, c.encode_seconds))
    rows = []
    for name, items in groups.items():
        count = [p.frames for p, *_ in items]
        camera = sum(p.camera_bytes for p, *_ in items)
        total = sum(size for _, size, *_ in items)
        parts: dict[str, int] = defaultdict(int)
        for p in record.payloads if name in own else ():
            for part, size in p.bytes_by_part.items():
                parts[part] += size
        rows.append(
            {
                "name": name,
                "own": name in own,
                "clips": len(items),
                "frames": sum(count),
                "bytes": total,
                "bytes_per_frame": total / max(sum(count), 1),
                "alpha": total / camera if camera else math.nan,
                "frame_db": _mean([q[0] for *_, q, _ in items], count),
                "background_db": _mean([q[1] for *_, q, _ in items], count),
                "object_db": _mean([q[2] for *_, q, _ in items], count),
                "encode_seconds_per_frame": _mean([s / max(p.frames, 1) for p, *_, s in items], count),
                "bytes_by_part": dict(parts),
            }
        )
    return sorted(rows, key=lambda r: float(r["bytes_per_frame"]))


def accuracy_rows(accuracy: Sequence[AccuracyRecord]) -> list[dict[str, Any]]:
    """Means over devices of mAP after each round, for the run's training and whatever else was trained."""
    groups: dict[tuple[str, int], list[AccuracyRecord]] = defaultdict(list)
    for a in accuracy:
        groups[a.scheme, a.round].append(a)
    return [
        {
            "scheme": scheme,
            "round": number,
            "devices": len(items),
            "map50": _mean([a.map50 for a in items]),
            "map50_95": _mean([a.map50_95 for a in items]),
            "trained_frames": sum(a.trained_frames for a in items),
            "render_seconds": _mean([a.render_seconds for a in items]),
            "train_seconds": _mean([a.train_seconds for a in items]),
        }
        for (scheme, number), items in sorted(groups.items())
    ]


def round_rows(record: RunRecord) -> list[dict[str, Any]]:
    """What crossed the links in each round."""
    data, other = data_entries(record.ledger.sent()), other_entries(record.ledger.sent())
    by_round = {**{e.round: None for e in record.ledger}, **{p.round: None for p in record.payloads}}
    data_totals, other_totals = data.totals(lambda e: e.round), other.totals(lambda e: e.round)
    return [
        {
            "round": number,
            "data_payload_bytes": data_totals.get(number, (0, 0))[0],
            "data_message_bytes": data_totals.get(number, (0, 0))[1],
            "other_message_bytes": other_totals.get(number, (0, 0))[1],
            "clips": sum(p.round == number for p in captures_of(record)),
            "encode_seconds": _sum(p.encode_seconds for p in captures_of(record) if p.round == number),
        }
        for number in sorted(by_round)
    ]


def device_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Bytes sent and received by every device, its mAP before and after, and its failures."""
    sent, received = (
        record.ledger.sent().totals(lambda e: e.source),
        record.ledger.sent().totals(lambda e: e.destination),
    )
    own = [a for a in record.accuracy if not a.scheme]
    rows = []
    for d in record.devices:
        scores = sorted((a for a in own if a.device == d.name), key=lambda a: a.round)
        rows.append(
            {
                "name": d.name,
                "clips": d.clips,
                "frames": d.frames,
                "held_back": d.held_back,
                "camera_bytes": d.camera_bytes,
                "sent_bytes": sent.get(d.name, (0, 0))[1],
                "received_bytes": received.get(d.name, (0, 0))[1],
                "map50": scores[-1].map50 if scores else math.nan,
                "map50_95": scores[-1].map50_95 if scores else math.nan,
                "failures": sum(f.device == d.name for f in record.failures),
            }
        )
    return rows


def crossovers(record: RunRecord) -> dict[str, Any]:
    """The closed form with this run's mean u, alpha and r, and where the order of the schemes changes."""
    payloads = captures_of(record)
    camera = sum(p.camera_bytes for p in payloads)
    if not camera:
        return {}
    receivers = [len(receivers_of(record, p)) for p in payloads]
    u = sum(p.upload_bytes for p in payloads) / camera
    alpha = sum(p.payload_bytes for p in payloads) / camera
    r = sum(n * p.camera_bytes for n, p in zip(receivers, payloads, strict=True)) / camera
    frames = sum(p.frames for p in payloads)
    models = [e for e in record.ledger.sent() if e.kind in ("model", "update") and e.destination == "fog"]
    values = {
        "u": u,
        "alpha": alpha,
        "receivers": r,
        "gain": float(model.gain(r, alpha=alpha, u=u)) if u + alpha * r else math.nan,
        "gain_limit": r / u if u else math.inf,
        "receivers_where_fog_pays": model.receivers_where_fog_pays(alpha=alpha, u=u),
        "alpha_where_fog_pays": model.alpha_where_fog_pays(r, u=u) if r else math.nan,
        "frame_bytes": camera / frames if frames else math.nan,
    }
    if models:
        beta = sum(e.message_bytes for e in models) / len(models)
        names = {name for p in payloads for name in receivers_of(record, p)}
        values |= {
            "beta": beta,
            "beta_where_fog_training_pays": model.beta_where_fog_training_pays(
                [p.camera_bytes for p in payloads],
                receivers,
                len(names),
                alpha=[p.payload_bytes / max(p.camera_bytes, 1) for p in payloads],
            ),
        }
    return values


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


def _mean(values: Iterable[float], weights: Iterable[float] | None = None) -> float:
    """Weighted mean of what is finite (an infinite PSNR, lossless, stays infinite if nothing else is there)."""
    array = np.asarray(list(values), np.float64)
    weight = np.ones(len(array)) if weights is None else np.asarray(list(weights), np.float64)
    keep = np.isfinite(array) & (weight > 0)
    if not keep.any():
        return float(array[0]) if len(array) and np.isinf(array).all() else math.nan
    return float(np.average(array[keep], weights=weight[keep]))


def _sum(values: Iterable[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return math.fsum(known) if known else math.nan
