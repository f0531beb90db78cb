"""What README.md and the docs say about each results file: one function a block, from JSON to Markdown.

Every number of a text comes from the file. A sentence that draws a conclusion is chosen by the numbers, so that it
turns when they do.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accuracy_texts import accuracy, accuracy_all
from page_text import not_measured, paragraphs, percents, prose, read, span, table
from speed_texts import augment, decode, encode, encode_scale, train

from rinr_flower.codecs import codecs

Text = Callable[[Path], str]
RIVALS = ("avif", "av1", "roi_av1")
UPLOADS = {
    "jpeg": "the camera's files",
    "roi_jpeg": "`roi_jpeg` (a coarse frame and fine boxes)",
    "roi_jpeg:key_every=16": "`roi_jpeg` with one whole frame in 16",
    "roi_jpeg:coarse_every=4": "`roi_jpeg` with a coarse frame for every fourth",
    "roi_x264": "`roi_x264` (video)",
}


def main_job(results: Path) -> str:
    """Bytes and mAP of the main job, seed by seed, for the codec and for training on the camera's files."""
    found = read(results / "main_job.json")
    if found is None:
        return not_measured("python benchmarks/main_job.py")
    runs = found["runs"]
    fog, files = ([r for r in runs if r["strategy"] == s] for s in ("fog", "jpeg_relay"))
    means = [statistics.mean(r["map50"] for r in rows) for rows in (fog, files)]
    rows = [
        (
            str(r["seed"]),
            "`scene` payloads" if r["strategy"] == "fog" else "the JPEG files",
            f"{r['payload_bytes']:,}",
            *(f"{r[key]:.3f}" for key in ("start_map50", "map50", "map50_95")),
        )
        for r in runs
    ]
    return paragraphs(
        prose(
            "**The main job** (embedded sample, ten devices, two rounds, `python benchmarks/main_job.py`): "
            f"{fog[0]['seconds']:.0f} s on {found['machine']['cores']} cores with training the factory model, peak "
            f"memory {max(r['peak_bytes'] for r in fog) / 1e9:.1f} GB over all processes. Mean mAP50 over {len(fog)} "
            f"seeds: {means[0]:.3f} with `scene`, {means[1]:.3f} with the files."
        ),
        table(("seed", "trained on", "bytes of what was trained on", "mAP50 before", "mAP50", "mAP50-95"), rows),
    )


def sharing(results: Path) -> str:
    """How many times fewer bytes ten devices send, by way of sharing."""
    found = read(results / "sharing.json")
    command = "RINR_DATA=DIR python benchmarks/sharing.py"
    if found is None:
        return not_measured(command)
    rows = []
    longest = max(r["frames"] for r in found["summary"])
    for r in found["summary"]:
        way = (
            f"fog `{r['codec']}`, uploading {UPLOADS[r['upload']]}" if r["way"] == "fog" else f"`{r['codec']}`, no fog"
        )
        spread = [f"{r['median']:.1f}x", *(f"{r[k]:.1f}x ({_plain(r[f'{k}_clip'])})" for k in ("best", "worst"))]
        if r["frames"] == longest:
            rows.append((way, *spread, *(f"{r[f'median_{k}']:.1f}" for k in ("frame_db", "object_db"))))
    clips = max(r["clips"] for r in found["summary"])
    return paragraphs(
        prose(
            f"**Bytes of {found['devices']} devices that all share with each other**, against sending each other the "
            f"camera's JPEG files, captures of {longest} frames, over {clips} clips (`{command}`; sizes of real "
            "payloads in the closed form of [bandwidth](docs/bandwidth.md); with the camera's files going up, no "
            "codec can pass 9x):"
        ),
        table(("way of sharing", "median", "best", "worst", "median frame dB", "median object dB"), rows),
    )


def rate_distortion(results: Path) -> str:
    """Bytes at quality of the default ``scene`` on consecutive frames, and what rivals need at equal object PSNR."""
    path = results / "rate_distortion.json"
    found = read(path)
    if found is None:
        return not_measured("python benchmarks/rate_distortion.py")
    default = codecs.create("scene")
    ratios = {(r["clip"], r["rival"]): r["ratio"] for r in found["at_640"]["ratios"]}
    points = [json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()]
    rows, single = [], []
    for p in points:
        if p["series"] != "scene" or p["frames"] != found["frames"] or codecs.create(p["options"]) != default:
            continue
        against = [ratios.get((p["clip"], rival)) for rival in RIVALS]
        if "/images" in p["clip"]:
            single.append(against)
            continue
        rows.append(
            (
                _clip(p["clip"]),
                f"{camera:,.0f}" if (camera := p["camera_bytes_per_frame"]) else "-",
                f"{p['bytes_per_frame']:,.0f}",
                f"{camera / p['bytes_per_frame']:.0f}x" if camera else "-",
                f"{p['at_640']['frame_db']:.1f}",
                f"{p['at_640']['object_db']:.1f}",
                *("-" if ratio is None else f"{ratio:.2f}" for ratio in against),
            )
        )
    spans = [span(r[i] for r in single if r[i] is not None) for i in range(len(RIVALS))]
    return paragraphs(
        prose(
            "**Bytes at quality on real sequences** (`RINR_DATA=DIR python benchmarks/rate_distortion.py`; default "
            "`scene`; PSNR against the decoded camera files at 640 wide at most; the last three columns are bytes of "
            "`scene` over those of a rival at equal object PSNR: above 1 the rival wins):"
        ),
        table(
            (
                f"frames {found['frames']} of (reader)", "camera JPEG, B/frame", "`scene`, B/frame", "fewer",
                "frame dB", "object dB", "over AVIF", "over AV1", "over two-layer AV1",
            ),
            rows,
        ),
        prose(
            f"On single unrelated frames (DAC-SDC `images/`) `scene` has no motion to use: {spans[0]} of AVIF's bytes, "
            f"{spans[1]} of AV1's and {spans[2]} of two-layer AV1's at equal object PSNR."
        ),
        prose(f"Bytes of `scene` over those of each rival at equal object PSNR, all {len(rows) + len(single)} clips:"),
        table(("rival", "median", "`scene` takes fewer on", "a quarter or less on"), _rivals(found)),
    )  # fmt: skip


def _rivals(found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            f"`{r['rival']}`",
            f"{r['median_ratio']:.2f}",
            f"{r['share_below_1'] * r['compared']:.0f} of {r['compared']}",
            f"{r['share_at_most_a_quarter'] * r['compared']:.0f}",
        )
        for r in found["at_640"]["summary"]
        if r["rival"] != "camera"
    ]


def quality(results: Path) -> str:
    """Residual against direct object networks at equal bytes."""
    found = read(results / "quality.json")
    if found is None:
        return not_measured("RINR_DATA=DIR python benchmarks/quality.py")
    gains, quantised = [], []
    for r in found["summary"]:
        if (gain := r.get("median_residual_minus_direct_db")) is not None:
            worst = f"{r['worst_residual_minus_direct_db']:+.2f} ({_plain(r['worst_clip'])})"
            gains.append((f"`{r['case']}`", f"{gain:+.2f}", f"{r['clips_won']} of {r['clips']}", worst))
        if (loss := r.get("median_qre_minus_re_db")) is not None:
            quantised.append(f"{loss:+.2f} dB over {r['case'].removeprefix('QRE ')}")
    loss = f" Quantised to 8 and 16 bits (QRE) objects change by {' and '.join(quantised)}." if quantised else ""
    return paragraphs(
        prose(
            "Object PSNR of residual minus direct object networks at equal bytes, over the same background, on "
            f"{max(r['clips'] for r in found['summary'])} clips (`RINR_DATA=DIR python benchmarks/quality.py`):{loss}"
        ),
        table(("background", "median dB", "clips won", "worst dB"), gains),
    )


def reliability(results: Path) -> str:
    """What a run survives."""
    found = read(results / "reliability.json") or {}
    if not found:
        return not_measured("python benchmarks/reliability.py")
    lines = []
    if r := found.get("resume"):
        lines.append(
            f"Killed with -9 at {r['kills']} random moments and resumed: {r['equal']} ended as if nothing had happened."
        )
    if r := found.get("faults"):
        lines.append(
            f"{r['devices']} devices, {r['rounds_with_faults']} rounds, {sum(r['faults'].values())} faults (raised, "
            f"lost, garbage, forged, replayed): {'every one' if r['every_fault_is_a_row'] else 'not every one'} is a "
            f"row of its kind in the report, {r['spoilt_captures_shared']} spoilt captures were shared, "
            f"{r['payloads_lacking_at_the_end']} payloads were lacking at the end, {r['unaccounted_share']:.2%} of the "
            "bytes are not in the ledger."
        )
    if r := found.get("growth"):
        lines.append(
            f"{r['rounds']} rounds in a row, after the first quarter: {r['rss_growth_mib']:+.1f} MiB of memory, "
            f"{r['open_files_growth']:+.0f} open files."
        )
    if r := found.get("overhead"):
        lines.append(f"Signatures, checksums and durable writes take {r['share']:.1%} of a round.")
    if r := found.get("load"):
        lines.append(
            f"{r['devices']} devices of {r['frames_per_device']} frames on {r['machine']['cores']} cores: "
            f"{r['payloads']} payloads, {r['seconds']:,.0f} s, peak memory {r['peak_memory_gib']:.1f} GiB over all "
            f"processes, {sum(r['failures'].values()) or 'no'} failures."
        )
    if r := found.get("nodes"):
        held = {
            "the report names each": r["report_names_each_killed_device"],
            "the others' data is complete": r["survivors_are_complete"],
            "those that came back have every frame": r["returning_devices_have_caught_up"],
        }
        lines.append(
            f"{r['devices']} deployed devices, {r['rounds']} rounds, {len(r['killed'])} of them killed with -9 in one "
            "round and the SuperLink in another, all started again as systemd would: the run ended after "
            f"{r['seconds']:.0f} s; {'; '.join(what if true else f'not: {what}' for what, true in held.items())}."
        )
    if r := found.get("wire"):
        ways = [
            f"{r[way]['socket_bytes']:,} bytes {way} (ledger: {r[way]['ledger_message_bytes']:,}; polling while idle "
            f"would be {r[way]['idle_bytes_in_that_time']:,})"
            for way in ("up", "down")
        ]
        lines.append(
            f"At the sockets of {r['devices']} deployed devices, TLS and HTTP included, {r['rounds']} rounds in "
            f"{r['seconds']:.0f} s: {' and '.join(ways)}."
        )
    return paragraphs(
        "`python benchmarks/reliability.py`, with the real fog node, devices and messages:",
        "\n".join(f"- {line}" for line in lines),
    )


def updates(results: Path) -> str:
    """Shares of the best rival's bytes, in one sentence."""
    claims = _claims(results)
    if claims is None:
        return not_measured("python benchmarks/update_size.py digits")
    published, coded = (
        [c[k]["share"] for _, c in claims] for k in ("against_published_rivals", "against_rivals_with_our_coding")
    )
    return prose(
        "**Model updates** (`python benchmarks/update_size.py digits`, `... yolo`): at equal accuracy, trained "
        f"low-rank factors need {percents(published)} of the bytes of the best published federated-learning compressor "
        f"in {len(claims)} scenarios, and {percents(coded)} of the best one when that gets our quantiser and entropy "
        "coder too: see [updates](docs/updates.md)."
    )


def hostile(results: Path) -> str:
    """What the fuzzer found."""
    found = read(results / "fuzz.json")
    if found is None:
        return not_measured("python benchmarks/fuzz.py --count 1000000 --seed 0")
    outcome = (
        "no crash, no hang, no silently different picture"
        if not found["findings"]
        else f"{len(found['findings'])} findings"
    )
    return prose(
        f"**Hostile bytes** (`python benchmarks/fuzz.py --count {found['count']} --seed {found['seed']}`): "
        f"{found['count']:,} altered payloads and updates, {outcome}; the slowest took "
        f"{found['slowest']['seconds']:.1f} s of processor time."
    )


def scale(results: Path) -> str:
    """The tree of fog nodes, from 10 to 100,000 devices."""
    found = read(results / "scale.json")
    if found is None:
        return not_measured("python benchmarks/scale.py")
    rows = [
        (
            f"{r['devices']:,}",
            f"{r['fog_bytes'] / 1e6:,.0f}",
            f"{r['serverless_bytes'] / 1e6:,.0f}",
            r["bottleneck"].replace("_", " ") if r["saturated"] else "none",
            "-" if r["fog_nodes_needed"]["all"] is None else f"{r['fog_nodes_needed']['all']:,}",
        )
        for r in found["results"]
        if r["sharing"] == "nearest" and not r["broadcast"]
    ]
    return paragraphs(
        prose(
            f"Nine receivers a device, a capture period of a minute (`{found['command']}`). All rows of the file "
            f"together took {found['model_wall_seconds']:.1f} s and {found['peak_memory_gib']:.2f} GiB."
        ),
        table(
            ("devices", "MB through the fog", "MB device to device", "one fog node saturates at", "fog nodes needed"),
            rows,
        ),
    )


def update_sizes(results: Path) -> str:
    """Bytes that keep the accuracy of the full update less one point, by compressor and scenario."""
    claims = _claims(results)
    if claims is None:
        return not_measured("python benchmarks/update_size.py digits")
    names = list(dict.fromkeys(name for _, c in claims for name in c["bytes_needed"]))
    sizes = {n: [c["bytes_needed"].get(n) for _, c in claims] for n in names}
    shown = [n for n in names if any(sizes[n])]
    rows = [
        (f"**{n}**" if n == "factorised" else n, *("-" if size is None else f"{size:,.0f}" for size in sizes[n]))
        for n in sorted(shown, key=lambda n: (n == "factorised", -(sizes[n][0] or 0)))
    ]
    return table(("bytes of one update", *(name for name, _ in claims)), rows)


def update_claims(results: Path) -> str:
    """The bytes of ``factorised`` over those of the best rival, with and without our coding."""
    claims = _claims(results)
    if claims is None:
        return not_measured("python benchmarks/update_size.py digits")
    keys = ("against_published_rivals", "against_rivals_with_our_coding", "against_all")
    rows = [
        (
            name,
            *(f"{100 * c[k]['share']:.0f} % of {c[k]['best']}{'' if c[k]['holds'] else ', **misses**'}" for k in keys),
        )
        for name, c in claims
    ]
    allowed = [f"{100 * claims[0][1][k]['allowed']:.0f} %" for k in keys]
    head = ("the best as published", "the best with our coding", "the best of all")
    return table(
        ("`factorised` needs", *(f"of {what} (bar {bar})" for what, bar in zip(head, allowed, strict=True))), rows
    )


TEXTS: dict[str, Text] = {
    f.__name__: f
    for f in (
        main_job, sharing, accuracy, accuracy_all, rate_distortion, quality, encode, decode, train, augment, updates,
        reliability, hostile, encode_scale, scale, update_sizes, update_claims,
    )
}  # fmt: skip


def _claims(results: Path) -> list[tuple[str, dict[str, Any]]] | None:
    """Scenarios of both tasks by their names on the page."""
    digits, yolo = (read(results / f"update_size_{task}.json") for task in ("digits", "yolo"))
    if digits is None or yolo is None:
        return None
    return [*digits["claims"].items(), *((f"YOLOv8n, {name}", c) for name, c in yolo["claims"].items())]


def _clip(name: str) -> str:
    kind, _, clip = name.partition("/")
    return f"{clip} ({kind})"


def _plain(name: str) -> str:
    return name.partition("/")[2]
