"""Rows of the report's tables: schemes, codecs, accuracy, rounds, devices."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rinr_flower.bandwidth.ledger import FOG
from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.report.record import AccuracyRecord, PayloadRecord, RunRecord
from rinr_flower.report.schemes import Scheme, captures_of, data_entries, other_bytes, other_entries
from rinr_flower.report.timing import time_of

BASELINE = "serverless jpeg"
NEAR_ZERO_MAP50 = 0.05  # a device at or below has learned nothing, whatever the mean says


def scheme_row(scheme: Scheme, schemes: Sequence[Scheme], link: LinkModel, record: RunRecord) -> dict[str, Any]:
    """Bytes, prediction, gain, time and energy of one scheme."""
    base = next((s.payload_bytes for s in schemes if s.name == BASELINE), 0)
    sums = scheme.ledger.totals(lambda e: "up" if e.destination == FOG else "down" if e.source == FOG else "across")
    timing = time_of(scheme, record, link)
    return {
        "name": scheme.name,
        "route": scheme.route,
        "codec": scheme.codec,
        "evidence": scheme.evidence,
        "coverage": scheme.coverage,
        "own": scheme is schemes[0],
        "up_bytes": sums.get("up", (0, 0))[0],
        "down_bytes": sums.get("down", (0, 0))[0],
        "across_bytes": sums.get("across", (0, 0))[0],
        "predicted_bytes": round(scheme.predicted.total),
        "payload_bytes": scheme.payload_bytes,
        "overhead_bytes": scheme.overhead_bytes,
        "message_bytes": scheme.message_bytes,
        "total_bytes": scheme.message_bytes + other_bytes(scheme, schemes[0], record.ledger),
        "gain": base / scheme.payload_bytes if base and scheme.payload_bytes else math.nan,
        "link_seconds": timing.link,
        "encode_seconds": timing.encode,
        "decode_seconds": timing.decode,
        "train_seconds": timing.train,
        "total_seconds": timing.total,
        "link_joules": link.joules(scheme.ledger) if link.joules_per_byte_sent else math.nan,
    }


Measured = tuple[PayloadRecord, int, tuple[float, float, float], float]
"""A clip, its bytes in a codec, PSNR of frame, background and object, and seconds of encoding."""


def codec_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Bytes per frame and quality of the run's codec and every rival; means weighted by frames.

    All rows are over the same clips: those that every codec was measured on.
    """
    frames = {(p.round, p.device, p.clip): p for p in record.payloads}
    own = {p.codec for p in captures_of(record)}
    groups: dict[str, dict[tuple[int, str, str], Measured]] = defaultdict(dict)
    for key, p in frames.items():
        quality = (p.frame_db, p.background_db, p.object_db)
        groups[p.codec][key] = (p, p.payload_bytes, quality, p.encode_seconds)
    for c in record.rivals:
        key = (c.round, c.device, c.clip)
        if key in frames and c.name not in own:
            quality = (c.frame_db, c.background_db, c.object_db)
            groups[c.name][key] = (frames[key], c.bytes, quality, c.encode_seconds)
    common = set.intersection(*map(set, groups.values())) if groups else set()
    rows = []
    for name, known in groups.items():
        items = [value for key, value in known.items() if key in common or not common]
        count = [p.frames for p, *_ in items]
        camera = sum(p.camera_bytes for p, *_ in items)
        total = sum(size for _, size, *_ in items)
        parts: dict[str, int] = defaultdict(int)
        for p, *_ in items if name in own else ():
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
                "frame_db": mean([q[0] for *_, q, _ in items], count),
                "background_db": mean([q[1] for *_, q, _ in items], count),
                "object_db": mean([q[2] for *_, q, _ in items], count),
                "encode_seconds_per_frame": mean([s / max(p.frames, 1) for p, *_, s in items], count),
                "bytes_by_part": dict(parts),
            }
        )
    return sorted(rows, key=lambda r: float(r["bytes_per_frame"]))


def accuracy_rows(accuracy: Sequence[AccuracyRecord]) -> list[dict[str, Any]]:
    """Means over devices of mAP after each round."""
    groups: dict[int, list[AccuracyRecord]] = defaultdict(list)
    for a in accuracy:
        groups[a.round].append(a)
    return [
        {
            "round": number,
            "devices": len(items),
            "map50": mean([a.map50 for a in items]),
            "map50_95": mean([a.map50_95 for a in items]),
            "least_map50": min((a.map50 for a in items if math.isfinite(a.map50)), default=math.nan),
            "near_zero": [a.device for a in items if a.map50 <= NEAR_ZERO_MAP50],
            "trained_frames": _frames([a.trained_frames for a in items]),
            "render_seconds": mean([a.render_seconds for a in items]),
            "train_seconds": mean([a.train_seconds for a in items]),
        }
        for number, items in sorted(groups.items())
    ]


def _frames(counts: Sequence[int | None]) -> int | None:
    """Their sum; None if one is not known."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def round_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Bytes that crossed the links in each round."""
    data, other = data_entries(record.ledger), other_entries(record.ledger)
    by_round = {**{e.round: None for e in record.ledger}, **{p.round: None for p in record.payloads}}
    data_totals, other_totals = data.totals(lambda e: e.round), other.totals(lambda e: e.round)
    return [
        {
            "round": number,
            "data_payload_bytes": data_totals.get(number, (0, 0))[0],
            "data_message_bytes": data_totals.get(number, (0, 0))[1],
            "other_message_bytes": other_totals.get(number, (0, 0))[1],
            "clips": sum(p.round == number for p in captures_of(record)),
            "encode_seconds": total(p.encode_seconds for p in captures_of(record) if p.round == number),
        }
        for number in sorted(by_round)
    ]


def device_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Bytes sent and received by every device, its mAP before and after, and its failures."""
    sent, received = (
        record.ledger.totals(lambda e: e.source),
        record.ledger.totals(lambda e: e.destination),
    )
    rows = []
    for d in record.devices:
        scores = sorted((a for a in record.accuracy if a.device == d.name), key=lambda a: a.round)
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


def mean(values: Iterable[float], weights: Iterable[float] | None = None) -> float:
    """Weighted mean of what is finite (an infinite PSNR, lossless, stays infinite if nothing else is there)."""
    array = np.asarray(list(values), np.float64)
    weight = np.ones(len(array)) if weights is None else np.asarray(list(weights), np.float64)
    keep = np.isfinite(array) & (weight > 0)
    if not keep.any():
        return float(array[0]) if len(array) and np.isinf(array).all() else math.nan
    return float(np.average(array[keep], weights=weight[keep]))


def total(values: Iterable[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return math.fsum(known) if known else math.nan
