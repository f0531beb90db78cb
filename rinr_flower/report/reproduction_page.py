"""Tables of the reproduced experiments: as values, and as a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.model import fog_bytes, fog_training_bytes, serverless_bytes
from rinr_flower.report.html import element, join
from rinr_flower.report.page import page, section
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import (
    bytes_text,
    decibel_text,
    number,
    ratio_text,
    seconds_text,
    share_text,
)

LINK = LinkModel.of_profile("source_2MBps")


def quality_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a codec: mean frame size, PSNR (means over clips), CPU time of encoding and decoding a frame."""
    rows = []
    for label in dict.fromkeys(r["row"] for r in results["clips"]):
        items = [r for r in results["clips"] if r["row"] == label]
        frames = sum(r["frames"] for r in items)
        camera = sum(r["camera_bytes"] for r in items)
        rows.append(
            {
                "row": label,
                "bytes_per_frame": sum(r["payload_bytes"] for r in items) / frames,
                "alpha": sum(r["payload_bytes"] for r in items) / camera,
                **{key: _mean(items, key) for key in ("object_db", "background_db", "frame_db")},
                "encode_cpu_seconds_per_frame": sum(r["encode_cpu_seconds"] for r in items) / frames,
                "decode_cpu_seconds_per_frame": sum(r["decode_cpu_seconds"] for r in items) / frames,
            }
        )
    return rows


def transmission_table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Data transmitted among the devices, its time at 2 MB/s, decoding time and mAP; one row a way of sharing.

    Every device captures the mean clip and receives everyone else's. ``receive_seconds`` is one device's share of the
    link plus decoding all that it received, as in the source's latency figure.
    """
    devices, frames = results["experiment"]["devices"], results["experiment"]["frames"]
    jpeg = [r for r in results["clips"] if r["row"] == "JPEG"]
    per_frame = sum(r["camera_bytes"] for r in jpeg) / sum(r["frames"] for r in jpeg)
    camera, receivers = [per_frame * frames] * devices, [devices - 1] * devices
    scores = {r["row"]: r for r in results["accuracy"]}
    base = serverless_bytes(camera, receivers).total

    def row(label: str, total: float, decode: float, score: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "row": label,
            "bytes": round(total),
            "gain": base / total if total else math.nan,
            "link_seconds": total / LINK.rate_bytes_per_s,
            "decode_cpu_seconds": decode,
            "map50": score.get("map50"),
            "map50_95": score.get("map50_95"),
        }

    received = frames * (devices - 1)
    codecs = {r["row"]: r for r in quality_table(results)}
    decode = {label: r["decode_cpu_seconds_per_frame"] * received for label, r in codecs.items()}
    rows = [row("JPEG, device to device", base, decode["JPEG"], scores.get("JPEG", {}))]
    for label, codec in codecs.items():
        total = fog_bytes(camera, receivers, alpha=codec["alpha"]).total
        rows.append(row(f"{label}, via fog", total, decode[label], scores.get(label, {})))
    for label in ("H.264", "AV1", "ROI-AV1"):
        if label in codecs:
            total = serverless_bytes(camera, receivers, alpha=codecs[label]["alpha"]).total
            rows.append(row(f"{label}, device to device", total, decode[label], scores.get(label, {})))
    for update in results["updates"]:
        total = fog_training_bytes(camera, devices, beta=update["bytes"]).total
        rows.append(row(f"trained at the fog, {update['name']} update", total, 0.0, update))
    return rows


def reproduction_page(results: Mapping[str, Any]) -> str:
    """Both tables as a self-contained page."""
    experiment = results["experiment"]
    quality, transmission = quality_table(results), transmission_table(results)
    clips = sorted({r["clip"] for r in results["clips"]})
    lead = (
        f"The experiments of Residual-INR on {experiment['data']}: {len(clips)} clips of {experiment['frames']} frames "
        f"({', '.join(clips)}), {experiment['steps']:,} fitting steps (the source fits 10,000 a frame), YOLOv8n "
        f"fine-tuned for {experiment['train_steps']} steps at {experiment['image_size']} pixels, "
        f"seed {experiment['seed']}."
    )
    variants = (
        "BS: one large background network. BE: a small one. DE: the small one and object networks that code the "
        "pixels directly. RE: the same with residuals. QRE: RE quantised to 8 and 16 bits. Means over clips; times are "
        "CPU time."
    )
    sharing = (
        f"{experiment['devices']} devices, each with the mean clip, everyone receives everyone else's. Uploads are the "
        "camera's files. Communication at 2 MB/s on one medium; decoding is what one device spends on all it received. "
        "mAP on the camera's later frames of the same clips, after training on what was decoded."
    )
    one = [
        Column("codec", "row"),
        Column("bytes a frame", "bytes_per_frame", bytes_text),
        Column("alpha", "alpha", lambda v: share_text(v, 4)),
        Column("object", "object_db", decibel_text),
        Column("background", "background_db", decibel_text),
        Column("frame", "frame_db", decibel_text),
        Column("encode a frame", "encode_cpu_seconds_per_frame", seconds_text),
        Column("decode a frame", "decode_cpu_seconds_per_frame", seconds_text),
    ]
    two = [
        Column("way of sharing", "row"),
        Column("bytes", "bytes", bytes_text),
        Column("gain", "gain", ratio_text),
        Column("communication", "link_seconds", seconds_text),
        Column("decoding", "decode_cpu_seconds", seconds_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("mAP50", "map50", share_text),
    ]
    updates = [
        Column("update", "name"),
        Column("bytes", "bytes", bytes_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("mAP50", "map50", share_text),
    ]
    return page(
        "Reproduced experiments",
        element("h1", "The source's experiments, measured again"),
        element("p", lead, class_="lead"),
        section("Reconstruction quality and frame size", join(element("p", variants), table(one, quality))),
        section("Data transmitted, latency and accuracy", join(element("p", sharing), table(two, transmission))),
        section("Model updates of training at the fog", table(updates, results["updates"])),
    )


def _mean(items: Sequence[Mapping[str, Any]], key: str) -> float:
    values = [number(r[key]) for r in items]
    known = [v for v in values if math.isfinite(v)]
    return math.fsum(known) / len(known) if known else (values[0] if values else math.nan)
