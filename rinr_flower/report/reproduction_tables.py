"""Values of the reproduced experiments: one table for every figure of the source, from measured results."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.model import fog_bytes, fog_training_bytes, serverless_bytes
from rinr_flower.report.experiment import BACKGROUNDS, SOURCE
from rinr_flower.report.units import number

LINK = LinkModel.of_profile("source_2MBps")
DEVICE_TO_DEVICE = ("JPEG q50", "JPEG q20", "H.264", "AV1", "ROI-AV1")
"""Codecs that devices may have themselves, so that they can do without a fog."""
LINE = "trained at the fog, YOLOv8m whole"
SUMMARY_ROWS = (
    "JPEG, device to device", "JPEG q20, device to device", "H.264, device to device", "ROI-AV1, device to device",
    "Rapid-INR BS, via fog", "Rapid-INR QRE, via fog", "NeRV QRE, via fog", "residual (ours), via fog",
    "scene (ours), via fog", "ROI-AV1, via fog",
)  # fmt: skip
"""Ways of sharing that the summary shows, beside model updates: the source's, ours, and the strongest of the rivals."""


def quality_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a codec: mean frame size, PSNR, CPU time of encoding and decoding a frame.

    PSNR are means over the clips, without those that come back exactly (``exact_clips`` of ``clips``).
    """
    rows = []
    for label in dict.fromkeys(r["row"] for r in results["clips"]):
        items = _of(results, label)
        frames = sum(r["frames"] for r in items)
        camera = sum(r["camera_bytes"] for r in items)
        rows.append(
            {
                "row": label,
                "bytes_per_frame": sum(r["payload_bytes"] for r in items) / frames,
                "alpha": sum(r["payload_bytes"] for r in items) / camera,
                **{key: _mean([r[key] for r in items]) for key in ("object_db", "background_db", "frame_db")},
                "clips": len(items),
                "exact_clips": sum(math.isinf(number(r["frame_db"])) for r in items),
                "encode_cpu_seconds_per_frame": sum(r["encode_cpu_seconds"] for r in items) / frames,
                "decode_cpu_seconds_per_frame": sum(r["decode_cpu_seconds"] for r in items) / frames,
            }
        )
    return rows


def accuracy_table(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """mAP of every trained row: mean and range over the seeds."""
    table = {}
    for label in dict.fromkeys(r["row"] for r in results["accuracy"]):
        mine = [r for r in results["accuracy"] if r["row"] == label]
        values: dict[str, Any] = {"seeds": len(mine)}
        for key in ("map50", "map50_95"):
            found = [number(r[key]) for r in mine]
            values |= {key: _mean(found), f"{key}_least": min(found), f"{key}_most": max(found)}
        table[label] = values
    return table


def transmission_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Data transmitted among the devices, its time at 2 MB/s, decoding time and mAP; one row a way of sharing.

    Every device captures the mean clip and receives everyone else's. ``latency_seconds`` is the time of all
    transmissions on the one medium and of decoding what one device received, as in the source's latency figure.
    """
    devices, frames = results["experiment"]["devices"], results["experiment"]["frames"]
    jpeg = _of(results, "JPEG")
    per_frame = sum(r["camera_bytes"] for r in jpeg) / sum(r["frames"] for r in jpeg)
    camera, receivers = [per_frame * frames] * devices, [devices - 1] * devices
    scores = accuracy_table(results)
    base = serverless_bytes(camera, receivers).total

    def row(label: str, codec: str, total: float, decode: float, score: Mapping[str, Any]) -> dict[str, Any]:
        link = total / LINK.rate_bytes_per_s
        return {
            "row": label,
            "codec": codec,
            "bytes": round(total),
            "gain": base / total if total else math.nan,
            "link_seconds": link,
            "decode_cpu_seconds": decode,
            "latency_seconds": link + decode,
            **score,
        }

    received = frames * (devices - 1)
    codecs = {r["row"]: r for r in quality_table(results)}
    decode = {label: r["decode_cpu_seconds_per_frame"] * received for label, r in codecs.items()}
    rows = [row("JPEG, device to device", "JPEG", base, decode["JPEG"], scores.get("JPEG", {}))]
    for label, codec in codecs.items():
        total = fog_bytes(camera, receivers, alpha=codec["alpha"]).total
        rows.append(row(f"{label}, via fog", label, total, decode[label], scores.get(label, {})))
    for label in DEVICE_TO_DEVICE:
        if label in codecs:
            total = serverless_bytes(camera, receivers, alpha=codecs[label]["alpha"]).total
            rows.append(row(f"{label}, device to device", label, total, decode[label], scores.get(label, {})))
    for update in results["updates"]:
        total = fog_training_bytes(camera, devices, beta=update["bytes"]).total
        score = {key: update[key] for key in ("map50", "map50_95")}
        rows.append(row(f"trained at the fog, {update['name']} update", "", total, 0.0, score))
    total = fog_training_bytes(camera, devices, beta=results["detector_bytes"]).total
    rows.append(row(LINE, "", total, 0.0, {}))
    return rows


def networks_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One large network against a small one with objects: the source's figures, then ours by clip."""
    rows = [
        {
            "clip": "the source's example",
            "one_bytes": SOURCE["bytes_of_one_network"],
            "one_object_db": SOURCE["object_db_of_one_network"],
            "two_bytes": SOURCE["bytes_of_background"] + SOURCE["bytes_of_object"],
            "two_object_db": SOURCE["object_db_of_two_networks"],
        }
    ]
    for one, direct, two in zip(*(_of(results, f"Rapid-INR {v}") for v in ("BS", "DE", "RE")), strict=True):
        rows.append(
            {
                "clip": one["clip"],
                "one_bytes": one["payload_bytes"] / one["frames"],
                "one_object_db": number(one["object_db"]),
                "two_bytes": two["payload_bytes"] / two["frames"],
                "two_object_db": number(two["object_db"]),
                "direct_object_db": number(direct["object_db"]),
            }
        )
    return rows


def claims_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The source's claims as differences in object PSNR: median and worst clip, and how many clips they hold on."""
    rows = []
    for background in BACKGROUNDS:
        for better, worse, claim in (
            ("RE", "BS", "a small network with objects over one large network"),
            ("RE", "DE", "objects as residuals over objects as pixels"),
            ("QRE", "RE", "8 and 16 bits over float32 (a loss is expected)"),
        ):
            pairs = zip(*(_of(results, f"{background} {v}") for v in (better, worse)), strict=True)
            compared = [
                (a, b)
                for a, b in pairs
                if math.isfinite(number(a["object_db"])) and math.isfinite(number(b["object_db"]))
            ]
            differences = [number(a["object_db"]) - number(b["object_db"]) for a, b in compared]
            if not differences:
                continue
            sizes = [sum(pair[i]["payload_bytes"] for pair in compared) for i in range(2)]
            rows.append(
                {
                    "claim": f"{background}: {claim}",
                    "median_db": statistics.median(differences),
                    "worst_db": min(differences),
                    "holds": f"{sum(d > 0 for d in differences)} of {len(differences)}",
                    "bytes_ratio": sizes[0] / sizes[1],
                }
            )
    return rows


def summary_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JPEG against Residual-INR: every cell measured, one row a codec, with the source's figures as the last."""
    ways = {r["row"]: r for r in transmission_table(results)}
    quality = {r["row"]: r for r in quality_table(results)}
    base = ways["JPEG, device to device"]
    rows = []
    for way in [ways[row] for row in SUMMARY_ROWS if row in ways] + [w for w in ways.values() if not w["codec"]]:
        sent = quality.get(way["codec"], {})
        rows.append(
            {
                "row": way["row"],
                "bytes_per_frame": sent.get("bytes_per_frame"),
                "object_db": sent.get("object_db"),
                "bytes": way["bytes"],
                "gain": way["gain"],
                "link_seconds": way["link_seconds"],
                "decode_cpu_seconds": way["decode_cpu_seconds"],
                "latency_seconds": way["latency_seconds"],
                "speedup": base["latency_seconds"] / way["latency_seconds"],
                "map50_95": way.get("map50_95"),
            }
        )
    printed = {
        "gain": SOURCE["data_gain"],
        "speedup": SOURCE["speedup"],
        "object_db": SOURCE["object_db_of_two_networks"],
    }
    return [*rows, {"row": "Residual-INR, as printed (best case)", **printed}]


def _of(results: Mapping[str, Any], row: str) -> list[Mapping[str, Any]]:
    """The measurements of a row, in order of the clips."""
    return [r for r in results["clips"] if r["row"] == row]


def _mean(values: Sequence[Any]) -> float:
    numbers = [number(v) for v in values]
    known = [v for v in numbers if math.isfinite(v)]
    return math.fsum(known) / len(known) if known else (numbers[0] if numbers else math.nan)
