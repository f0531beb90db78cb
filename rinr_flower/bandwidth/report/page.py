"""The report as one self-contained page: no file, no font and no request outside of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rinr_flower.bandwidth.report.figures import Chart, scheme_label
from rinr_flower.bandwidth.report.html import Html, element, join
from rinr_flower.bandwidth.report.tables import Column, table
from rinr_flower.bandwidth.report.units import (
    bytes_text,
    count_text,
    decibel_text,
    number,
    ratio_text,
    seconds_text,
    share_text,
)

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, *sections: Html) -> str:
    """A whole page around ``sections``; its own policy forbids any request to the network."""
    style = Html((_HERE / "page.css").read_text(encoding="utf-8"))
    script = Html((_HERE / "page.js").read_text(encoding="utf-8"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", title),
        element("style", style),
    )
    tip = element("div", id="tip", hidden=True, role="status")
    body = element("body", element("main", *sections), tip, element("script", script))
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def report_page(summary: Mapping[str, Any], charts: Sequence[Chart], examples: Sequence[Html]) -> str:
    """The report of one run."""
    by_name = {c.name: c for c in charts}
    title = f"Bandwidth report: {summary['title']}"
    sections = [
        answer(summary),
        missing_note(summary["missing"]),
        section("Where the bytes go", bytes_section(summary, by_name)),
        section("What the bytes buy", quality_section(summary, by_name)),
        section("Does the detector still learn", accuracy_section(summary, by_name)),
        section("What it looks like", join(*examples) if examples else None),
        section("From when on the fog pays", crossover_section(summary, by_name)),
        section("Rounds, devices and failures", devices_section(summary)),
        section("How to repeat it", scenario_section(summary)),
    ]
    return page(title, element("h1", title), element("p", size_text(summary), class_="soft"), *filter(None, sections))


def size_text(summary: Mapping[str, Any]) -> str:
    """How big the run was."""
    frames = sum(c["frames"] for c in summary["codecs"] if c["own"])
    counts = ((len(summary["devices"]), "device"), (len(summary["rounds"]), "round"), (frames, "shared frame"))
    return ", ".join(f"{count:,} {what}{'' if count == 1 else 's'}" for count, what in counts if count) + "."


def section(heading: str, content: Html | None) -> Html:
    """A headed section; empty without content."""
    return element("section", element("h2", heading), content) if content else Html()


def answer(summary: Mapping[str, Any]) -> Html:
    """The answer first: bytes, time and accuracy against serverless JPEG, and the strongest rival."""
    head = summary["headline"]
    if "gain" not in head:
        return element(
            "p", "This run holds no payload, so there is no saving to state. What is there follows.", class_="lead"
        )
    gain = number(head["gain"])
    more = "fewer" if gain >= 1 else "more"
    factor = gain if gain >= 1 else 1 / gain
    lead = join(
        "Sharing these captures as ",
        element("b", str(head["codec"])),
        " ",
        "through the fog node" if str(head["scheme"]).startswith("fog") else "from device to device",
        f" took {bytes_text(head['bytes'])}: ",
        element("b", f"{factor:.3g} times {more} bytes"),
        f" than the {bytes_text(head['baseline_bytes'])} of devices that send each other their JPEG files.",
    )
    tiles = [
        tile(ratio_text(gain), "fewer bytes than serverless JPEG", own=True),
        tile(
            seconds_text(head["link_seconds"]),
            f"on the link, instead of {seconds_text(head['baseline_link_seconds'])} for serverless JPEG",
        ),
    ]
    if "map50_95" in head:
        versus = [
            f"{share_text(head[key])} {what}"
            for key, what in (("start_map50_95", "before training"), ("jpeg_map50_95", "trained on the JPEG files"))
            if key in head
        ]
        tiles.append(tile(share_text(head["map50_95"]), "mAP50-95 on held-back frames; " + ", ".join(versus)))
        tiles.append(tile(share_text(head["map50"]), "mAP50 on held-back frames"))
    return join(
        element("p", lead, class_="lead"),
        element("div", *tiles, class_="tiles"),
        element("p", rival_text(head)) if head.get("rivals") is not None else None,
    )


def tile(value: str, text: str, *, own: bool = False) -> Html:
    """One number with what it says."""
    return element("div", element("b", value), element("span", text), class_="tile own" if own else "tile")


def rival_text(head: Mapping[str, Any]) -> Html:
    """Who comes closest at no worse object quality, who wins, and who is smaller but worse."""
    rivals, own_db = head["rivals"], decibel_text(head["object_db"])
    as_good = [r for r in rivals if r["as_good"]]
    smaller = [r for r in rivals if not r["as_good"] and number(r["ratio"]) < 1]
    texts: list[object] = []
    for rival in as_good[:1]:
        ratio, name = number(rival["ratio"]), element("b", scheme_words(rival["name"]))
        size = f"{bytes_text(rival['bytes'])}, {decibel_text(rival['object_db'])} on the object"
        if ratio < 1:
            texts += ["A rival wins here: ", name, f" ({size}) takes {1 / ratio:.3g} times fewer bytes"]
        else:
            texts += ["The strongest rival is ", name, f" ({size}) with {ratio:.3g} times as many bytes"]
        texts += [f", among those that are at most 1 dB below this run's {own_db}. "]
    if not as_good:
        texts += [f"No other way of sharing in this report reaches its object quality ({own_db}) within 1 dB. "]
    if smaller:
        names = [
            f"{scheme_words(r['name'])} ({bytes_text(r['bytes'])}, {decibel_text(r['object_db'])})" for r in smaller
        ]
        texts += ["Fewer bytes, but a worse object: ", "; ".join(names), "."]
    return join(*texts)


def scheme_words(name: str) -> str:
    """``fog avif q30`` as ``avif q30 through the fog``."""
    route, _, codec = name.partition(" ")
    return f"{codec} through the fog" if route == "fog" else f"{codec} from device to device"


def missing_note(missing: Sequence[str]) -> Html:
    """What could not be found or read, if anything."""
    if not missing:
        return Html()
    items = element("ul", *(element("li", text) for text in missing))
    return element(
        "div", element("b", "This run is not complete; the report shows what is there."), items, class_="warn"
    )


def figure(chart: Chart | None) -> Html | None:
    """A chart with its title and caption."""
    if chart is None:
        return None
    return element("figure", element("h3", chart.title), chart.inline(), element("figcaption", chart.caption))


def charts(*figures: Chart | None) -> Html | None:
    """Charts side by side where there is room."""
    known = [figure(f) for f in figures if f is not None]
    return element("div", *known, class_="charts") if known else None


def bytes_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    rows = [dict(r, label=scheme_label(r), evidence=evidence_text(r)) for r in summary["schemes"]]
    if not rows and "bytes_by_kind" not in by_name:
        return None
    columns = [
        Column("way of sharing", "label"),
        Column("up", "up_bytes", bytes_text),
        Column("down", "down_bytes", bytes_text),
        Column("across", "across_bytes", bytes_text),
        Column("predicted", "predicted_bytes", count_text),
        Column("measured", "payload_bytes", count_text),
        Column("message overhead", "overhead_bytes", count_text),
        Column("gain", "gain", ratio_text),
        Column("link time", "link_seconds", seconds_text),
        Column("basis", "evidence"),
    ]
    text = (
        "The same captures, shared in different ways. Predicted is the closed form of the communication model, "
        "measured the payload bytes of the messages, both in bytes; message overhead is what serialisation adds. "
        "Gain is against JPEG files sent from device to device. Basis: sent by this run; metered, this run's own upload "
        "messages addressed to the other receivers; or encoded at the fog from the same captures and counted, not sent. "
        "Where only a part of the captures was encoded, the rest is extrapolated by its camera bytes."
    )
    return join(
        element("p", text),
        charts(by_name.get("bytes_by_scheme"), by_name.get("bytes_by_kind")),
        table(columns, rows) if rows else None,
    )


def evidence_text(row: Mapping[str, Any]) -> str:
    """Where a scheme's measured bytes come from."""
    text = {"sent": "sent", "metered": "metered", "counted": "encoded"}[row["evidence"]]
    coverage = number(row["coverage"])
    return text if coverage >= 0.9995 else f"{text}, {coverage:.0%} of the captures"


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
        + ", ".join(f"{size / parts:.1%} are {part}" for part, size in own["bytes_by_part"].items() if size)
        + "."
        if own and parts
        else None
    )
    names = [f"quality_{region}" for region in ("object", "background", "frame")]
    return join(
        element("p", "PSNR against the decoded camera files, mean over clips weighted by frames."),
        charts(*(by_name.get(n) for n in names)),
        table(columns, summary["codecs"]),
        element("p", split, class_="note") if split else None,
    )


def accuracy_section(summary: Mapping[str, Any], by_name: Mapping[str, Chart]) -> Html | None:
    rows = [dict(r, label=r["scheme"] or "this run") for r in summary["accuracy"]]
    if not rows:
        return None
    columns = [
        Column("trained on", "label"),
        Column("round", "round", count_text),
        Column("mAP50", "map50", share_text),
        Column("mAP50-95", "map50_95", share_text),
        Column("devices", "devices", count_text),
        Column("frames trained", "trained_frames", count_text),
        Column("render, a device", "render_seconds", seconds_text),
        Column("train, a device", "train_seconds", seconds_text),
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
    if "beta" in values:
        limit = number(values["beta_where_fog_training_pays"])
        sentences.append(
            f"Training at the fog and sending model updates would take fewer bytes than sharing the payloads if an "
            f"update took less than {bytes_text(limit)}; this run's models took {bytes_text(values['beta'])} each."
        )
    return join(element("p", " ".join(sentences)), charts(by_name.get("crossover")))


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
    failures = [
        Column("round", "round", count_text),
        Column("device", "device"),
        Column("what", "kind"),
        Column("why", "reason", long=True),
    ]
    content = join(
        table(rounds, summary["rounds"]) if summary["rounds"] else None,
        table(devices, summary["devices"]) if summary["devices"] else None,
        table(failures, summary["failures"]) if summary["failures"] else element("p", "Nothing failed.", class_="soft"),
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
