"""Figures for other receivers, radios and sharing graphs, and for model updates instead of images."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from rinr_flower.bandwidth import model
from rinr_flower.bandwidth.ledger import FOG
from rinr_flower.bandwidth.link import LinkModel
from rinr_flower.bandwidth.model import SharingGraph
from rinr_flower.bandwidth.profiles import PROFILES
from rinr_flower.bandwidth.scale import Deployment, fog_nodes_needed, load_of
from rinr_flower.report.record import RunRecord
from rinr_flower.report.schemes import Scheme, captures_of, receivers_of


def crossovers(record: RunRecord) -> dict[str, Any]:
    """The closed form with this run's mean u, alpha and r, and where the order of the schemes changes."""
    payloads = captures_of(record)
    camera = sum(p.camera_bytes for p in payloads)
    if not camera:
        return {}
    receivers = [len(receivers_of(record, p)) for p in payloads]
    names = {name for p in payloads for name in receivers_of(record, p)}
    rounds, frames = len({p.round for p in payloads}), max(sum(p.frames for p in payloads), 1)
    u = sum(p.upload_bytes for p in payloads) / camera
    alpha = sum(p.payload_bytes for p in payloads) / camera
    r = sum(n * p.camera_bytes for n, p in zip(receivers, payloads, strict=True)) / camera
    senders = len({p.device for p in payloads})
    return {
        "u": u,
        "alpha": alpha,
        "receivers": r,
        "senders": senders,
        "receiving": len(names),
        "frames_per_device_and_round": frames / senders / rounds,
        "frame_bytes": camera / frames,
        "gain": float(model.gain(r, alpha=alpha, u=u)) if u + alpha * r else math.nan,
        "gain_limit": r / u if u else math.inf,
        "receivers_where_fog_pays": model.receivers_where_fog_pays(alpha=alpha, u=u),
        "alpha_where_fog_pays": model.alpha_where_fog_pays(r, u=u) if r else math.nan,
        "beta_where_fog_training_pays": model.beta_where_fog_training_pays(
            [p.camera_bytes for p in payloads],
            receivers,
            len(names) * rounds,
            alpha=[p.payload_bytes / max(p.camera_bytes, 1) for p in payloads],
        ),
        "updates": update_rows(
            record, frame_bytes=camera / frames, r=r, u=u, alpha=alpha, senders=senders, receiving=len(names)
        ),
    }


def update_rows(
    record: RunRecord, *, frame_bytes: float, r: float, u: float, alpha: float, senders: int, receiving: int
) -> list[dict[str, Any]]:
    """Every known size of a model update, and from how many frames a device and round on it beats sharing payloads."""
    sizes = {u.name: u.bytes for u in record.updates}
    models = [e.payload_bytes for e in record.ledger if FOG in (e.source, e.destination) and "model" in e.kind]
    if models:
        sizes["whole model"] = max(models)
    rows = []
    for name, beta in sizes.items():
        trained = model.frames_where_fog_training_pays(
            frame_bytes, r, alpha=alpha, beta=beta, devices=senders, receiving=receiving
        )
        averaged = model.frames_where_federated_pays(frame_bytes, r, alpha=alpha, u=u, beta_up=beta, beta_down=beta)
        rows.append(
            {
                "name": name,
                "bytes": beta,
                "frames_where_fog_training_pays": trained,
                "frames_where_federated_pays": averaged,
            }
        )
    return sorted(rows, key=lambda row: float(row["bytes"]))


def profile_rows(schemes: Sequence[Scheme], names: Sequence[str], link: LinkModel) -> list[dict[str, Any]]:
    """Time and energy of some schemes on the scenario's link and on every radio profile, unicast and broadcast."""
    links = {"this scenario": link} | {name: LinkModel.of_profile(name) for name in PROFILES}
    return [
        {
            "profile": name,
            "broadcast": broadcast,
            "scheme": scheme.name,
            "seconds": radio.seconds(scheme.ledger),
            "joules": radio.joules(scheme.ledger) if radio.joules_per_byte_sent else math.nan,
        }
        for name, base in links.items()
        for broadcast in (False, True)
        for radio in (dataclasses.replace(base, broadcast=broadcast),)
        for scheme in schemes
        if scheme.name in names
    ]


def graph_rows(record: RunRecord) -> list[dict[str, Any]]:
    """Predicted bytes of serverless JPEG and of the run's codec through the fog on other sharing graphs."""
    payloads = captures_of(record)
    names = sorted({p.device for p in payloads})
    n = len(names)
    if n < 2:
        return []
    camera = {name: sum(p.camera_bytes for p in payloads if p.device == name) for name in names}
    upload = {name: sum(p.upload_bytes for p in payloads if p.device == name) for name in names}
    encoded = {name: sum(p.payload_bytes for p in payloads if p.device == name) for name in names}
    half = (n + 1) // 2
    graphs = {
        "all to all": SharingGraph.all_to_all(n),
        **{f"next {k} in a ring": SharingGraph.nearest(n, k) for k in (1, 3, 5) if k < n - 1},
        f"two groups of {half} and {n - half}": SharingGraph.groups((half, n - half)),
    }
    data = [max(camera[name], 1) for name in names]
    alpha = [encoded[name] / max(camera[name], 1) for name in names]
    u = [upload[name] / max(camera[name], 1) for name in names]
    rows = []
    for name, graph in graphs.items():
        for broadcast in (False, True):
            across = model.serverless_bytes(data, graph.counts, broadcast=broadcast).total
            fog = model.fog_bytes(data, graph.counts, alpha=alpha, u=u, broadcast=broadcast).total
            rows.append(
                {
                    "graph": name,
                    "broadcast": broadcast,
                    "receivers": float(graph.counts.mean()),
                    "serverless_jpeg_bytes": round(across),
                    "fog_bytes": round(fog),
                    "gain": across / fog if fog else math.nan,
                }
            )
    return rows


def _radio(link: LinkModel, name: str) -> float:
    """Bytes/s of a node over all of its links; one link's rate where it has no limit of its own."""
    limit = link.node_limit(name)
    return limit if math.isfinite(limit) else link.rate_bytes_per_s


SCALES = (10, 100, 1_000, 10_000)
PERIOD_S = 60.0


def scale_rows(record: RunRecord, link: LinkModel) -> list[dict[str, Any]]:
    """One fog node for more and more devices that each capture one of this run's clips every PERIOD_S seconds.

    Clips are dealt to the devices in turn; each has as many receivers as in the run; radios have the link's rates.
    """
    payloads = [p for p in captures_of(record) if receivers_of(record, p)]
    if not payloads:
        return []
    receivers = max(len(receivers_of(record, p)) for p in payloads)
    known = [(p.encode_seconds, p.frames) for p in payloads if p.frames and 0 <= p.encode_seconds < math.inf]
    per_frame = math.fsum(s for s, _ in known) / sum(f for _, f in known) if known else 0.0
    rows = []
    for devices in SCALES:
        if devices <= receivers:
            continue
        dealt = [payloads[i % len(payloads)] for i in range(devices)]
        deployment = Deployment(
            np.array([float(p.upload_bytes) for p in dealt]),
            np.array([float(p.payload_bytes) for p in dealt]),
            np.array([float(p.frames) for p in dealt]),
            receivers=receivers,
            fog_rate_bytes_per_s=_radio(link, FOG),
            device_rate_bytes_per_s=_radio(link, ""),
            encode_seconds_per_frame=per_frame,
            broadcast=link.broadcast,
            loss=link.loss,
            period_s=PERIOD_S,
        )
        load, needed = load_of(deployment), fog_nodes_needed(deployment)
        rows.append(
            {
                "devices": devices,
                "receivers": receivers,
                "period_s": PERIOD_S,
                "bytes": load.uplink_bytes + load.downlink_bytes,
                "serverless_bytes": load.serverless_bytes,
                **{f"{name}_seconds": load.seconds[name] for name in ("fog_receives", "encoder", "fog_sends")},
                "saturated": load.saturated,
                "fog_nodes_needed": needed["all"],
            }
        )
    return rows
