"""Tables of README.md and the docs: one function a block, from a result file to Markdown.

A block is a table and nothing else, but for SENTENCES: what a page says about it is written on the page, without
figures.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from .accuracy_tables import accuracy, accuracy_all, trained_on_scene
from .clips import clip_name
from .markdown import read as _read
from .markdown import table as _table
from .network_tables import NETWORK_TABLES
from .rate_records import default_point
from .reproduction_tables import REPRODUCTION_TABLES
from .results import Row
from .scene_preset_tables import scene_best, scene_fast
from .speed_tables import augment, decode, encode, encode_scale, encode_to_the_end, train
from .start_model_table import start_model
from .update_tables import update_claims, update_federation, update_shares, update_sizes

UPLOADS = {
    "jpeg": "the camera's files",
    "roi_jpeg": "`roi_jpeg` (a coarse frame and fine boxes)",
    "roi_jpeg:key_every=16": "`roi_jpeg` with one whole frame in 16",
    "roi_jpeg:coarse_every=4": "`roi_jpeg` with a coarse frame for every fourth",
    "roi_x264": "`roi_x264` (video)",
}
Table = Callable[[Path], str]
_RIVALS = {"avif": "AVIF", "x264": "H.264", "av1": "AV1", "roi_av1": "two-layer AV1"}


_TRAINED_ON = {"fog": "`scene`", "fog_fast": "`scene`, preset `fast`", "jpeg_relay": "the JPEG files"}


def main_job(results: Path) -> str:
    """Bytes and mAP of the main job, seed by seed, for two presets and for training on the camera's files."""
    found = _read(results / "main_job.json")
    rows = [
        (
            str(r["seed"]),
            _TRAINED_ON[r["strategy"]],
            f"{r['payload_bytes']:,}",
            *(f"{r[key]:.3f}" for key in ("start_map50", "map50", "least_map50", "map50_95")),
            f"{r['seconds']:.0f}",
            f"{r['peak_bytes'] / 1e9:.1f}",
        )
        for r in found["rows"]
    ]
    head = (
        "seed",
        "trained on",
        "bytes of it",
        "mAP50 before",
        "mAP50",
        "mAP50, least of a device",
        "mAP50-95",
        "wall s",
        "peak memory, GB",
    )
    return _table(head, rows)


def main_job_time(results: Path) -> str:
    """Seconds from capture to trained detector with each preset, beside JPEG files between devices."""
    rows = [
        (
            str(r["seed"]),
            _TRAINED_ON[r["strategy"]],
            *(f"{r[key]:.1f}" for key in ("end_to_end_s", "encode_s", "jpeg_end_to_end_s")),
            f"{r['turning_bytes_per_s'] / 1e6:.2f}",
        )
        for r in _read(results / "main_job.json")["rows"]
        if "encode_s" in r
    ]
    head = (
        "seed",
        "codec",
        "through the fog, s",
        "of these encoding, s",
        "JPEG files between devices, s",
        "the fog is sooner below, MB/s",
    )
    return _table(head, rows)


def sharing(results: Path) -> str:
    """Bytes of ten devices by way of sharing, as times fewer than JPEG between them: ways measured on all clips."""
    found = _read(results / "sharing.json")["summary"]
    most = max(r["clips"] for r in found)
    rows = []
    for r in (r for r in found if r["clips"] == most):
        way = (
            f"fog `{r['codec']}`, uploading {UPLOADS[r['upload']]}" if r["way"] == "fog" else f"`{r['codec']}`, no fog"
        )
        spread = [f"{r['median']:.1f}x", *(f"{r[k]:.1f}x ({clip_name(r[f'{k}_clip'])})" for k in ("best", "worst"))]
        quality = [f"{r[f'median_{k}']:.1f}" for k in ("frame_db", "object_db")]
        rows.append((way, *spread, *quality))
    head = ("way of sharing", "median", "best", "worst", "median frame dB", "median object dB")
    return _table(head, rows)


def rate_clips(results: Path) -> str:
    """The default ``scene`` on every clip, and its bytes over those of rivals at equal quality."""
    found = _read(results / "rate_distortion.json")
    rivals = ("avif", "av1", "roi_av1")
    ratios = {(r["clip"], r["rival"]): r for r in found["summary"]["clips"]}
    rows = []
    for p in default_point("scene", found["rows"]):
        camera = p["camera_bytes_per_frame"]
        rows.append(
            (
                _clip(p["clip"]),
                f"{camera:,.0f}" if camera else "-",
                f"{p['bytes_per_frame']:,.0f}",
                f"{camera / p['bytes_per_frame']:.0f}x" if camera else "-",
                f"{p['frame_db']:.1f}",
                f"{p['object_db']:.1f}",
                *(
                    " / ".join(_ratio(ratios[p["clip"], rival][key]) for key in ("at_our_points", "at_its_points"))
                    for rival in rivals
                ),
            )
        )
    head = ("clip (reader)", "camera JPEG, B/frame", "`scene`, B/frame", "fewer", "frame dB", "object dB")
    return _table((*head, *(f"over `{r}`" for r in rivals)), rows)


def rate_rivals(results: Path) -> str:
    """Bytes of ``scene`` over those of each rival by the rule of comparison, and Bjontegaard's difference."""
    rows = []
    for r in _rivals(results):
        ours, its, bd = (r[key] for key in ("at_our_points", "at_its_points", "bd_rate_percent"))
        points = (f"{r[key][0]} of {r[key][1]}" for key in ("our_points", "its_points"))
        cells = [
            text
            for cell, of in zip((ours, its), points, strict=True)
            for text in (_ratio(cell["median"]), _won(cell), of)
        ]
        difference = "-" if bd["median"] is None else f"{bd['median']:+.0f} %"
        rows.append((f"`{r['rival']}`", *cells, difference, _won(bd)))
    head = ("rival", "at our points", "won", "points", "at its points", "won", "points", "BD-rate, object", "won")
    return _table(head, rows)


def rate_envelope(results: Path) -> str:
    """The same with each codec's cheapest setting of all."""
    rows = [
        (f"`{r['rival']}`", _ratio(r["envelope"]["median"]), _won(r["envelope"]))
        for r in _rivals(results)
        if r["envelope"]["of"]
    ]
    return _table(("rival", "best of all settings", "won"), rows)


def quality(results: Path) -> str:
    """Residual against direct object networks at equal bytes, and what quantising them costs."""
    rows = []
    found = _read(results / "quality.json")
    for r in found["summary"]:
        measured = "qre_minus_re_db" if "median_qre_minus_re_db" in r else "residual_minus_direct_db"
        if (median := r.get(f"median_{measured}")) is not None:
            what = "QRE - RE" if measured.startswith("qre") else "residual - direct"
            worst = f"{r[f'worst_{measured}']:+.2f} ({clip_name(r['worst_clip'])})"
            case = r["case"].removeprefix("QRE ")
            printed = _at_published_sizes([row for row in found["rows"] if row["case"] == r["case"]])
            rows.append((f"`{case}`", what, *printed, f"{median:+.2f}", f"{r['clips_won']} of {r['clips']}", worst))
    head = ("median dB", "above 0 on", "worst dB")
    published = [f"at the published sizes: {head[0]}", *head[1:]]
    return _table(("background", "difference", *published, f"at equal bytes: {head[0]}", *head[1:]), rows)


def _at_published_sizes(rows: Sequence[Row]) -> tuple[str, str, str]:
    """Residual less direct, of object networks of the published sizes alone: median, clips won and worst."""
    found = []
    for r in rows:
        by_mode = {p["mode"]: p["object_db"] for p in r.get("rows", ()) if p.get("objects") == "published"}
        if {"residual", "direct"} <= by_mode.keys():
            found.append((by_mode["residual"] - by_mode["direct"], clip_name(r["clip"])))
    if not found:
        return "-", "-", "-"
    median, (worst, clip) = statistics.median(difference for difference, _ in found), min(found)
    return f"{median:+.2f}", f"{sum(d > 0 for d, _ in found)} of {len(found)}", f"{worst:+.2f} ({clip})"


def reliability(results: Path) -> str:
    """Faults, kills and load that a run survives."""
    parts = {r["part"]: r for r in _read(results / "reliability.json")["rows"]}
    texts: dict[str, Callable[[Row], tuple[str, str]]] = {
        "resume": lambda r: (
            f"{r['killed']} runs killed with -9 at random moments and resumed",
            f"{r['equal']} ended as an undisturbed run",
        ),
        "faults": _faults,
        "faults_fedavg": _faults,
        "many": lambda r: (
            f"{r['rows'][-1]['devices']:,} devices in one round, memory that the fog takes beside its start",
            f"{r['rows'][-1]['peak_growth_mib']:.0f} MiB ({r['rows'][0]['peak_growth_mib']:.0f} MiB with "
            f"{r['rows'][0]['devices']}) for {r['rows'][-1]['uploaded_bytes'] / 1e6:,.0f} MB uploaded and "
            f"{r['rows'][-1]['sent_to_train_bytes'] / 1e6:,.0f} MB sent, "
            f"{r['rows'][-1]['stored_at_the_superlink_bytes'] / 1e6:,.0f} MB stored at the SuperLink",
        ),
        "growth": lambda r: (
            f"{r['rounds']} rounds in a row, after the first quarter",
            f"{r['rss_growth_mib']:+.1f} MiB of memory, {r['open_files_growth']:+.0f} open files",
        ),
        "overhead": lambda r: ("signatures, checksums and durable writes", f"{r['share']:.1%} of a round"),
        "load": lambda r: (
            f"{r['devices']} devices of {r['frames_per_device']} frames",
            f"{r['payloads']} payloads, {r['seconds']:,.0f} s, peak memory {r['peak_memory_gib']:.1f} GiB over all "
            f"processes, {sum(r['failures'].values())} failures",
        ),
        "nodes": lambda r: (
            f"{r['devices']} deployed devices, {r['rounds']} rounds; {len(r['killed'])} devices and the SuperLink "
            "killed with -9 and started again as systemd would",
            f"{r['seconds']:.0f} s; report names each: {_yes(r['report_names_each_killed_device'])}; the others "
            f"complete: {_yes(r['survivors_are_complete'])}; the killed caught up: "
            f"{_yes(r['returning_devices_have_caught_up'])}",
        ),
        "wire": lambda r: (
            f"bytes at the sockets of {r['devices']} deployed devices, TLS and HTTP included, {r['rounds']} rounds",
            "; ".join(
                f"{way} {r[way]['socket_bytes']:,} (ledger {r[way]['ledger_message_bytes']:,}, idle polling "
                f"{r[way]['idle_bytes_in_that_time']:,})"
                for way in ("up", "down")
            ),
        ),
    }
    return _table(("what", "measured"), [text(parts[name]) for name, text in texts.items() if name in parts])


def _faults(r: Row) -> tuple[str, str]:
    inner = "" if r["inner"] == "none" else f", averaged by `{r['inner']}`"
    return (
        f"{r['devices']} devices{inner}, {r['rounds_with_faults']} rounds, {sum(r['faults'].values())} faults "
        "(raised, lost, garbage, odd keys, forged, replayed)",
        f"{sum(r['rows'].values())} rows of failures, {r['spoilt_captures_shared']} spoilt captures shared, "
        f"{r['payloads_lacking_at_the_end']} payloads lacking at the end, {r['unaccounted_share']:.2%} of the "
        "bytes not in the ledger",
    )


def hostile(results: Path) -> str:
    """Outcomes of the fuzzer, by kind of input."""
    found = _read(results / "fuzz.json")
    ends = ("refused", "decoded", "same", "finding")
    counts = [
        (where, *(sum(r.get(end, 0) for r in found["rows"] if r["input"].endswith(where)) for end in ends))
        for where in ("raw", "behind the checksum")
    ]
    rows = [(where, *(f"{n:,}" for n in numbers)) for where, *numbers in counts]
    return _table(("altered", "refused", "decoded", "unchanged", "findings"), rows)


def scale(results: Path) -> str:
    """The tree of fog nodes, from 10 to 100,000 devices."""
    rows = [
        (
            f"{r['devices']:,}",
            f"{r['fog_bytes'] / 1e6:,.0f}",
            f"{r['serverless_bytes'] / 1e6:,.0f}",
            r["bottleneck"].replace("_", " ") if r["saturated"] else "none",
            "-" if r["fog_nodes_needed"]["all"] is None else f"{r['fog_nodes_needed']['all']:,}",
        )
        for r in _read(results / "scale.json")["rows"]
        if r["sharing"] == "nearest" and not r["broadcast"]
    ]
    head = ("devices", "MB through the fog", "MB device to device", "one fog node saturates at", "fog nodes needed")
    return _table(head, rows)


def readme(results: Path) -> str:
    """The README's table: what a user asks first. At most eight rows."""
    ways = {(r["way"], r["upload"], r["codec"]): r for r in _read(results / "sharing.json")["summary"]}
    bounds = {
        r["rival"]: " / ".join(_ratio(r[key]["median"]) for key in ("at_our_points", "at_its_points"))
        for r in _rivals(results)
    }
    mean = _read(results / "main_job.json")["summary"]["mean"]
    jpeg_s = statistics.mean(mean[way]["jpeg_end_to_end_s"] for way in ("fog", "fog_fast"))
    learned = _read(results / "accuracy.json")
    trained = trained_on_scene(learned)
    fuzz, kills = _read(results / "fuzz.json")["summary"], _part(results, "resume")
    fog, layers = (f"{ways['fog', upload, 'scene']['median']:.1f}x fewer" for upload in ("jpeg", "roi_jpeg"))
    alone = "; ".join(f"{_RIVALS[c]} {ways['serverless', None, c]['median']:.1f}x" for c in ("x264", "av1", "roi_av1"))
    rows = [
        ("Ten devices share all with all through the fog, camera files going up: bytes", fog, "sharing.py"),
        ("The same, uploading a coarse frame and fine boxes (`roi_jpeg`)", layers, "sharing.py"),
        ("No fog, devices that can encode video themselves", f"{alone} fewer", "sharing.py"),
        (
            "Bytes of `scene` over those of a rival, at the quality of `scene` / at the rival's",
            "; ".join(f"{_RIVALS[r]} {bounds[r]}" for r in ("avif", "x264", "av1", "roi_av1")),
            "rate_distortion.py",
        ),
        (
            "mAP50-95 of YOLOv8n trained on `scene` frames, against the camera's files with "
            f"{trained[0][1]['camera_over_bytes']:.0f}x the bytes, in points",
            "; ".join(
                f"{100 * r['map50_95_minus_camera']['mean']:+.1f} after {setting['steps']:,} steps"
                for setting, r in trained
            ),
            "accuracy.py",
        ),
        (
            "The first command with `scene` / with its preset `fast` / with the camera's files, mean of three seeds: "
            "mAP50 and mAP50-95, mean of its devices; mAP50 of its worst device; time from capture to trained detector "
            "on its default link, files sent from device to device",
            "; ".join(
                f"{name} " + " / ".join(f"{mean[way][m]:.3f}" for way in ("fog", "fog_fast", "jpeg_relay"))
                for name, m in (("mAP50", "map50"), ("mAP50-95", "map50_95"), ("worst device", "least_map50"))
            )
            + "; "
            + " / ".join(f"{v:.0f}" for v in (*(mean[w]["end_to_end_s"] for w in ("fog", "fog_fast")), jpeg_s))
            + " s",
            "main_job.py",
        ),
        (
            "Model updates instead of data: bytes of `factorised` over those of the best compressor as published / of "
            "all, with our coding too, within a point of the full update's validation accuracy on digits, patches of "
            "photographs and generated sequences",
            update_shares(results),
            "updates.py",
        ),
        (
            "Altered payloads, updates and models given to the readers; killed runs that were resumed",
            f"{fuzz['done']:,}, {len(fuzz['findings'])} findings; {kills['killed']}, {kills['equal']} ended as if "
            "undisturbed",
            "fuzz.py, reliability.py",
        ),
    ]
    return _table(("", "measured", "`benchmarks/`"), rows)


def summary(results: Path) -> str:
    """README's first figures: how much ten devices save, and what it costs in accuracy."""
    ways = {(r["way"], r["upload"]): r for r in _read(results / "sharing.json")["summary"] if r["codec"] == "scene"}
    plain, layers = (ways["fog", upload]["median"] for upload in ("jpeg", "roi_jpeg"))
    learned = _read(results / "accuracy.json")
    points = " and ".join(
        f"{100 * d['mean']:+.1f} points after {setting['steps']:,} steps "
        f"({len(r['seeds'])} seeds, {100 * d['min']:+.1f} to {100 * d['max']:+.1f})"
        for setting, r in trained_on_scene(learned)
        for d in (r["map50_95_minus_camera"],)
    )
    return (
        "*Measured on real sequences:* ten devices that share everything with each other send "
        f"**{plain:.1f} times fewer bytes**\nthan with their camera's JPEG files. YOLOv8n trained on what arrives "
        f"differs from YOLOv8n trained on the files in mAP50-95 by\n{points}.\nDevices that upload a coarse frame and "
        f"fine boxes instead send {layers:.1f} times fewer bytes, but their detector must be trained with blur\n"
        "([accuracy](docs/accuracy.md#blur-against-sharpness-as-the-label), [results](docs/results.md))."
    )


TABLES: dict[str, Table] = {
    f.__name__: f
    for f in (
        readme, main_job, main_job_time, sharing, rate_clips, rate_rivals, rate_envelope, accuracy, accuracy_all,
        quality, encode, encode_to_the_end, encode_scale, decode, train, augment, reliability, hostile, scale,
        update_sizes, update_claims, update_federation, start_model, scene_best, scene_fast,
    )
} | NETWORK_TABLES | REPRODUCTION_TABLES  # fmt: skip
SENTENCES: dict[str, Table] = {"summary": summary}
"""Blocks that are prose."""


def _part(results: Path, name: str) -> Row:
    return next(r for r in _read(results / "reliability.json")["rows"] if r["part"] == name)


def _rivals(results: Path) -> list[Row]:
    """Comparisons with each rival; the camera's own files are no rival, they have one point."""
    rivals = _read(results / "rate_distortion.json")["summary"]["rivals"]
    return [r for r in rivals if r["rival"] != "camera"]


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _won(cell: Row) -> str:
    return f"{cell['won']} of {cell['of']}"


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


def _clip(name: str) -> str:
    kind, _, clip = name.partition("/")
    return f"{clip} ({kind})"
