"""The reproduced experiments as a page, and as files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rinr_flower.files import write_text
from rinr_flower.report.chart import Chart, styled
from rinr_flower.report.experiment import UNPRINTED, UNPRINTED_SETTINGS
from rinr_flower.report.html import Html, element, join
from rinr_flower.report.page import figure, page, section
from rinr_flower.report.record import to_json
from rinr_flower.report.reproduction_figures import charts
from rinr_flower.report.reproduction_tables import (
    accuracy_table,
    claims_table,
    networks_table,
    quality_table,
    summary_table,
    transmission_table,
)
from rinr_flower.report.tables import Column, table
from rinr_flower.report.units import bytes_text, decibel_text, ratio_text, seconds_text, share_text

_QUALITY = (
    Column("codec", "row"),
    Column("bytes a frame", "bytes_per_frame", bytes_text),
    Column("alpha", "alpha", lambda v: share_text(v, 4)),
    Column("object", "object_db", decibel_text),
    Column("background", "background_db", decibel_text),
    Column("frame", "frame_db", decibel_text),
    Column("clips exact", "exact_clips"),
    Column("encode a frame", "encode_cpu_seconds_per_frame", seconds_text),
    Column("decode a frame", "decode_cpu_seconds_per_frame", seconds_text),
)
_SHARING = (
    Column("way of sharing", "row"),
    Column("bytes", "bytes", bytes_text),
    Column("gain", "gain", ratio_text),
    Column("communication", "link_seconds", seconds_text),
    Column("decoding", "decode_cpu_seconds", seconds_text),
    Column("both", "latency_seconds", seconds_text),
    Column("mAP50-95", "map50_95", share_text),
    Column("mAP50", "map50", share_text),
)
_SUMMARY = (
    Column("way of sharing", "row"),
    Column("bytes a frame", "bytes_per_frame", bytes_text),
    Column("object", "object_db", decibel_text),
    Column("data transmitted", "bytes", bytes_text),
    Column("less data", "gain", ratio_text),
    Column("communication", "link_seconds", seconds_text),
    Column("decoding", "decode_cpu_seconds", seconds_text),
    Column("both", "latency_seconds", seconds_text),
    Column("faster", "speedup", ratio_text),
    Column("mAP50-95", "map50_95", share_text),
)
_CLAIMS = (
    Column("claim", "claim"),
    Column("object PSNR, median", "median_db", lambda v: f"{v:+.2f} dB"),
    Column("worst clip", "worst_db", lambda v: f"{v:+.2f} dB"),
    Column("clips on which it holds", "holds"),
    Column("bytes", "bytes_ratio", ratio_text),
)
_UPDATES = (
    Column("update", "name"),
    Column("bytes", "bytes", bytes_text),
    Column("mAP50-95", "map50_95", share_text),
    Column("mAP50", "map50", share_text),
)


def write_reproduction(results: Mapping[str, Any], folder: Path, command: str) -> Path:
    """Write ``reproduction.html``, ``reproduction.json`` and every figure as PNG and SVG; returns the page."""
    with styled():
        drawn = charts(results)
    for chart in drawn:
        chart.save(folder)
    values = {
        "schema": "rinr_flower.reproduction",
        "version": 1,
        "command": command,
        **results,
        "quality": quality_table(results),
        "networks": networks_table(results),
        "claims": claims_table(results),
        "scores": accuracy_table(results),
        "transmission": transmission_table(results),
        "summary": summary_table(results),
    }
    write_text(folder / "reproduction.json", json.dumps(to_json(values), indent=1, allow_nan=False))
    target = folder / "reproduction.html"
    write_text(target, reproduction_page(results, drawn, command))
    return target


def reproduction_page(results: Mapping[str, Any], drawn: list[Chart], command: str) -> str:
    """Figures and tables as a self-contained page that names every deviation from the source's settings."""
    experiment = results["experiment"]
    by_name = {chart.name: chart for chart in drawn}
    clips = list(dict.fromkeys(r["clip"] for r in results["clips"]))
    lead = (
        f"The experiments of Residual-INR on {len(clips)} clips ({', '.join(clips)}), {experiment['frames']} frames "
        f"each, with {experiment['detector']}, {len(experiment['seeds'])} seeds. Encoding, decoding and training "
        f"took {seconds_text(results['cpu_seconds'])} of processor time."
    )
    sharing = (
        f"{experiment['devices']} devices, each with the mean clip, everyone receives everyone else's. Uploads are the "
        "camera's files. Communication at 2 MB/s on one medium; decoding is what one device spends on all it received. "
        "mAP on the camera's later frames of the same clips, after training on what was decoded."
    )

    def shown(*names: str) -> Html:
        figures = [figure(by_name[name]) for name in names if name in by_name]
        return element("div", *figures, class_="charts")

    return page(
        "Reproduced experiments",
        element("h1", "The source's experiments, measured again"),
        element("p", lead, class_="lead"),
        element("p", element("code", command)),
        section("JPEG against Residual-INR", table(_SUMMARY, summary_table(results))),
        section(
            "Reconstruction quality and frame size",
            join(
                shown("variants_rapid_inr", "variants_nerv", "one_against_two"), table(_QUALITY, quality_table(results))
            ),
        ),
        section("The source's claims, clip by clip", table(_CLAIMS, claims_table(results))),
        section(
            "Data transmitted, latency and accuracy",
            join(
                element("p", sharing),
                shown("accuracy_by_bytes", "latency"),
                table(_SHARING, transmission_table(results)),
            ),
        ),
        section("Model updates of training at the fog", table(_UPDATES, results["updates"])),
        section("Settings", _settings(results)),
    )


def _settings(results: Mapping[str, Any]) -> Html:
    columns = (Column("setting", "setting"), Column("published", "published"), Column("here", "here"))
    deviations = [{key: str(value) for key, value in deviation.items()} for deviation in results["deviations"]]
    for deviation in deviations:
        if deviation["setting"] in UNPRINTED_SETTINGS:
            deviation["published"] += " (ours: the source prints none)"
    return join(
        element("p", "Settings that differ from the source's:"),
        table(columns, deviations),
        element("p", "Where the source prints nothing:"),
        element("ul", *(element("li", text) for text in UNPRINTED)),
    )
