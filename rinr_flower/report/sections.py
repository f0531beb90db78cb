"""Sections of a run's report page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rinr_flower.bandwidth.profiles import PROFILES
from rinr_flower.codecs.part_names import part_name
from rinr_flower.report.answer import WHOLE, start_model_text
from rinr_flower.report.chart import Chart
from rinr_flower.report.html import Html, element, join
from rinr_flower.report.page import charts
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import (
    bytes_text,
    count_text,
    decibel_text,
    joules_text,
    number,
    ratio_text,
    scheme_label,
    seconds_text,
    share_text,
)


def bytes_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    rows = [
        dict(
            r,
            label=scheme_label(r),
            evidence=evidence_text(r),
            about=number(r["coverage"]) < WHOLE,
            other_bytes=number(r["total_bytes"]) - number(r["message_bytes"]),
        )
        for r in summary["schemes"]
    ]
    if not rows and "bytes_by_kind" not in by_name:
        return None
    columns = [
        Column("way of sharing", "label"),
        Column("data", "payload_bytes", count_text, about="about"),
        Column("gain", "gain", ratio_text),
        Column("models, control", "other_bytes", bytes_text),
        Column("all together", "total_bytes", bytes_text, about="about"),
        Column("link time", "link_seconds", seconds_text),
        Column("basis", "evidence"),
        Column("up", "up_bytes", bytes_text),
        Column("down", "down_bytes", bytes_text, about="about"),
        Column("across", "across_bytes", bytes_text, about="about"),
        Column("predicted data", "predicted_bytes", count_text, about="about"),
        Column("message overhead", "overhead_bytes", count_text),
    ]
    text = (
        "The same captures, shared in different ways. Data are the payload bytes of the messages, predicted data those "
        "of the closed form of the communication model; message overhead is what serialisation adds. "
        f"Models and instructions come on top ({start_model_text(summary['headline'])}). "
        "Gain is in data, against JPEG files sent from device to device. Basis: sent by this run; metered, this run's "
        "own upload messages addressed to the other receivers; or encoded at the fog from the same captures and "
        "counted, not sent. Figures with ≈ are extrapolated by camera bytes from the share of the captures that was "
        "encoded."
    )
    return join(
        element("p", text),
        element("p", exactness_text(summary)) if rows else None,
        charts(by_name.get("bytes_by_scheme"), by_name.get("bytes_by_kind")),
        table(columns, rows) if rows else None,
    )


def exactness_text(summary: Mapping[str, Any]) -> str:
    """Compare the run's own bytes with the prediction, and name what serialisation added."""
    own = next(s for s in summary["schemes"] if s["own"])
    if own["evidence"] != "sent":
        return "This run's ledger holds no image data; its own row is counted from the payloads."
    extra = own["payload_bytes"] - own["predicted_bytes"]
    texts = [
        f"Serialisation added {own['overhead_bytes'] / max(own['payload_bytes'], 1):.2%} to this run's image data."
    ]
    if extra:
        texts.append(
            f"Its payloads differ from the prediction by {extra:+,} bytes: {len(summary['failures'])} failures are "
            "recorded, and what a device misses is left out or sent again."
        )
    else:
        texts.append("Its payloads are what the closed form predicts, to the byte.")
    return " ".join(texts)


def evidence_text(row: Mapping[str, Any]) -> str:
    """Name the source of a scheme's measured bytes."""
    text = {"sent": "sent", "metered": "metered", "counted": "encoded"}[row["evidence"]]
    coverage = number(row["coverage"])
    return text if coverage >= WHOLE else f"{text}, {coverage:.0%}"


def quality_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    if not summary["codecs"]:
        return None
    columns = [
        Column("codec", "name"),
        Column("bytes a frame", "bytes_per_frame", bytes_text),
        Column("alpha", "alpha", lambda v: share_text(v, 4)),
        Column("object", "object_db", decibel_text),
        Column("background", "background_db", decibel_text),
        Column("frame", "frame_db", decibel_text),
        Column("encode, a frame", "encode_seconds_per_frame", seconds_text),
        Column("clips", "clips", count_text),
        Column("frames", "frames", count_text),
    ]
    own = next((r for r in summary["codecs"] if r["own"]), None)
    parts = sum(own["bytes_by_part"].values()) if own else 0
    split = (
        "Of its payloads, "
        + ", ".join(
            f"{size / parts:.1%} are {name}"
            for name, size in ((part_name(own["name"], part), size) for part, size in own["bytes_by_part"].items())
            if size or "network" in name
        )
        + "."
        if own and parts
        else None
    )
    names = [f"quality_{region}" for region in ("object", "background", "frame")]
    return join(
        element(
            "p",
            "PSNR against the decoded camera files, mean over clips weighted by frames. All codecs over the same "
            f"{summary['codecs'][0]['clips']:,} of {summary['captures']:,} captures: those that every codec was "
            "measured on.",
        ),
        charts(*(by_name.get(n) for n in names)),
        table(columns, summary["codecs"]),
        element("p", split, class_="note") if split else None,
    )


def accuracy_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    rows = [dict(r, near=", ".join(r["near_zero"])) for r in summary["accuracy"]]
    if not rows:
        return None
    columns = [
        Column("round", "round", count_text),
        Column("mAP50", "map50", share_text),
        Column("least of a device", "least_map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("devices", "devices", count_text),
        Column("frames trained", "trained_frames", count_text),
        Column("render, a device", "render_seconds", seconds_text),
        Column("train, a device", "train_seconds", seconds_text),
        Column("devices near 0", "near", long=True),
    ]
    return join(charts(by_name.get("accuracy")), table(columns, rows))


def crossover_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    values = summary["crossovers"]
    if not values:
        return None
    sentences = [
        f"For every byte of its cameras, this run uploaded u = {number(values['u']):.3g} bytes and encoded "
        f"alpha = {number(values['alpha']):.3g} bytes; each capture had {number(values['receivers']):.3g} receivers.",
        f"The closed form gives a gain of {ratio_text(values['gain'])}; with this uplink no codec can pass "
        f"{ratio_text(values['gain_limit'])}.",
    ]
    crossing = number(values["receivers_where_fog_pays"])
    if math.isfinite(crossing):
        sentences.append(
            f"The fog sends fewer bytes than serverless JPEG above {crossing:.3g} receivers, so from "
            f"{math.floor(crossing) + 1} on."
        )
    sentences.append(
        "Training at the fog and sending one model update to every device and round would take fewer bytes than "
        f"sharing the payloads if the update took less than {bytes_text(values['beta_where_fog_training_pays'])}."
    )
    return join(element("p", " ".join(sentences)), charts(by_name.get("crossover"), by_name.get("fog_training")))


def failures_text(failures: Sequence[Mapping[str, Any]]) -> str:
    """Count failures by kind, the most frequent first."""
    if not failures:
        return "Nothing failed."
    counts = Counter(str(row["kind"]) for row in failures)
    return "Left out: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()) + "."


def failures_table(failures: Sequence[Mapping[str, Any]]) -> Html | None:
    """Who failed in which round, and why; None if nothing did."""
    columns = [
        Column("round", "round", count_text),
        Column("who", "device"),
        Column("what", "kind"),
        Column("why", "reason", long=True),
    ]
    return table(columns, failures) if failures else None


def devices_section(summary: Mapping[str, Any]) -> Html | None:
    rounds = [
        Column("round", "round", count_text),
        Column("clips", "clips", count_text),
        Column("image data", "data_payload_bytes", bytes_text),
        Column("with messages", "data_message_bytes", bytes_text),
        Column("models and control", "other_message_bytes", bytes_text),
        Column("encoding", "encode_seconds", seconds_text),
    ]
    devices = [
        Column("device", "name"),
        Column("frames", "frames", count_text),
        Column("held back", "held_back", count_text),
        Column("camera files", "camera_bytes", bytes_text),
        Column("sent", "sent_bytes", bytes_text),
        Column("received", "received_bytes", bytes_text),
        Column("mAP50", "map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("failures", "failures", count_text),
        Column("clips", "clips", long=True),
    ]
    decisions = [
        Column("round", "round", count_text),
        Column("trained at the", "choice"),
        Column("sharing would send", "edge_bytes", bytes_text),
        Column("fog training would send", "fog_bytes", bytes_text),
        Column("why", "reason", long=True),
    ]
    content = join(
        table(rounds, summary["rounds"]) if summary["rounds"] else None,
        table(decisions, summary["decisions"]) if summary["decisions"] else None,
        table(devices, summary["devices"]) if summary["devices"] else None,
        element("p", failures_text(summary["failures"]), class_="soft"),
        failures_table(summary["failures"]),
    )
    return content if summary["rounds"] or summary["devices"] or summary["failures"] else None


def scenario_section(summary: Mapping[str, Any]) -> Html:
    scenario = dict(summary["scenario"])
    command = scenario.pop("command", None)
    values = [Column("key", "key"), Column("value", "value", long=True)]

    def rows(mapping: Mapping[str, Any]) -> list[dict[str, str]]:
        return [{"key": k, "value": v if isinstance(v, str) else json.dumps(v)} for k, v in mapping.items()]

    parts = (("Scenario", scenario), ("Link model", summary["link"]), ("Versions", summary["environment"]))
    tables = [element("div", element("h3", head), table(values, rows(part))) for head, part in parts if part]
    return join(
        element("pre", str(command)) if command else None,
        element("div", *tables, class_="charts three"),
        element(
            "p",
            "Beside this page lie all of its values (report.json), every message (ledger.csv), and the figures as PNG "
            "and SVG.",
            class_="soft",
        ),
    )


def time_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    """Time from capture to trained detector, and the same messages on other radios."""
    rows = [dict(r, label=scheme_label(r)) for r in summary["schemes"]]
    if not rows:
        return None
    columns = [
        Column("way of sharing", "label"),
        Column("link", "link_seconds", seconds_text),
        Column("encode", "encode_seconds", seconds_text),
        Column("decode", "decode_seconds", seconds_text),
        Column("train", "train_seconds", seconds_text),
        Column("together", "total_seconds", seconds_text),
    ]
    labels = {r["name"]: r["label"] for r in rows}
    radios: dict[tuple[str, str], dict[str, Any]] = {}
    for r in summary["profiles"]:
        row = radios.setdefault((r["profile"], r["scheme"]), {"radio": r["profile"], "label": labels[r["scheme"]]})
        kind = "broadcast" if r["broadcast"] else "unicast"
        row |= {f"{kind}_seconds": r["seconds"], f"{kind}_joules": r["joules"]}
        row["own"] = next(s["own"] for s in rows if s["name"] == r["scheme"])
    radio_columns = [
        Column("radio", "radio"),
        Column("way of sharing", "label"),
        Column("unicast", "unicast_seconds", seconds_text),
        Column("energy", "unicast_joules", joules_text),
        Column("broadcast", "broadcast_seconds", seconds_text),
        Column("energy", "broadcast_joules", joules_text),
    ]
    sources = [element("li", element("b", name), f": {profile.source}.") for name, profile in PROFILES.items()]
    return join(
        element(
            "p",
            "Link is communication by the scenario's link model; encoding (at the fog by its workers), "
            "decoding and training are what this run measured; what was measured on some clips only is scaled to all "
            "frames. A dash was not measured, and then the sum is not known. The start model, sent before the first "
            "round, is not in it.",
        ),
        charts(by_name.get("time_by_scheme")),
        table(columns, rows),
        element("h3", "The same messages on other radios"),
        table(radio_columns, radios.values()),
        element(
            "details", element("summary", "Where the radios' figures come from"), element("ul", *sources), class_="note"
        ),
    )


def outlook_section(summary: Mapping[str, Any]) -> Html | None:
    """Other sharing graphs, and model updates instead of images."""
    if not summary["graphs"]:
        return None
    graphs = [dict(r, kind="broadcast" if r["broadcast"] else "unicast", own=False) for r in summary["graphs"]]
    columns = [
        Column("sharing graph", "graph"),
        Column("sent as", "kind"),
        Column("receivers", "receivers", lambda v: share_text(v, 1)),
        Column("serverless jpeg", "serverless_jpeg_bytes", bytes_text),
        Column("this codec via fog", "fog_bytes", bytes_text),
        Column("gain", "gain", ratio_text),
    ]
    updates = [
        Column("model update", "name"),
        Column("bytes", "bytes", bytes_text),
        Column("fog training pays above, frames a device and round", "frames_where_fog_training_pays", count_text),
        Column("federated averaging pays above", "frames_where_federated_pays", count_text),
    ]
    scale = [
        Column("devices", "devices", count_text),
        Column("bytes a period", "bytes", bytes_text),
        Column("fog receives", "fog_receives_seconds", seconds_text),
        Column("fog encodes", "encoder_seconds", seconds_text),
        Column("fog sends", "fog_sends_seconds", seconds_text),
        Column("over the period", "over"),
        Column("fog nodes needed", "fog_nodes_needed", count_text),
    ]
    many = [
        dict(r, over=", ".join(r["saturated"]).replace("_", " ") or "nothing: one fog node keeps up")
        for r in summary["scale"]
    ]
    rows = summary["crossovers"].get("updates", [])
    return join(
        element("p", "The closed form with this run's bytes, if the same devices shared with others than they did."),
        table(columns, graphs),
        table(updates, rows) if rows else None,
        element("h3", "If there were more devices") if many else None,
        element(
            "p",
            f"One fog node, one encoder, {many[0]['receivers']} receivers a capture as in this run, a capture every "
            f"{many[0]['period_s']:g} s: how long each part of the fog is at work in a period, what does not fit into "
            "the period, and how many such fog nodes would keep up.",
        )
        if many
        else None,
        table(scale, many) if many else None,
    )
