"""A run's record as numbers by round, under the names that trackers show."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace

from rinr_flower.bandwidth.ledger import Ledger
from rinr_flower.report.record import PayloadRecord, RunRecord
from rinr_flower.report.rows import accuracy_rows, mean, total
from rinr_flower.report.schemes import schemes_of

REGIONS = {"frame": "frame_db", "background": "background_db", "object": "object_db"}


def round_metrics(record: RunRecord) -> dict[int, dict[str, float]]:
    """Metrics by round; what is not known is left out.

    ``bytes/KIND`` are message bytes of the round, ``gain`` is over serverless JPEG up to and with the round,
    ``psnr/REGION`` (dB) a mean over the round's payloads weighted by frames, ``seconds/...`` of the round.
    """
    found: dict[int, dict[str, float]] = defaultdict(dict)
    for (number, kind), (_, size) in record.ledger.totals(lambda e: (e.round, e.kind)).items():
        found[number][f"bytes/{kind}"] = size
        found[number]["bytes/all"] = found[number].get("bytes/all", 0) + size
    for row in accuracy_rows(record.accuracy):
        found[row["round"]] |= {
            "map50": row["map50"],
            "map50-95": row["map50_95"],
            "seconds/render": row["render_seconds"],
            "seconds/train": row["train_seconds"],
        }
    for failure in record.failures:
        found[failure.round]["failures"] = found[failure.round].get("failures", 0) + 1
    for number in {p.round for p in record.payloads}:
        own = [p for p in record.payloads if p.round == number]
        values = found[number]
        values["clips"] = len(own)
        values["seconds/encode"] = total(p.encode_seconds for p in own)
        values["gain"] = _gain_until(record, number)
        for region, key in REGIONS.items():
            values[f"psnr/{region}"] = mean([getattr(p, key) for p in own], [p.frames for p in own])
    return {
        number: {name: float(value) for name, value in values.items() if math.isfinite(value)}
        for number, values in sorted(found.items())
    }


def _gain_until(record: RunRecord, number: int) -> float:
    """How many times fewer bytes of data than serverless JPEG, up to and with a round."""
    payloads: tuple[PayloadRecord, ...] = tuple(p for p in record.payloads if p.round <= number)
    ledger = Ledger(entries=[e for e in record.ledger if e.round <= number])
    schemes = schemes_of(replace(record, payloads=payloads, ledger=ledger, rivals=(), updates=()))
    base = next((s for s in schemes if s.name == "serverless jpeg"), None)
    own = schemes[0] if schemes else None
    if base is None or own is None or not own.ledger.payload_bytes:
        return math.nan
    return base.ledger.payload_bytes / own.ledger.payload_bytes
