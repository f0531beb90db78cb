"""What the docs say about the speed of encoders, decoders and training: texts of number_texts."""

from __future__ import annotations

import math
from pathlib import Path

from page_text import not_measured, paragraphs, prose, read, table, whole_span

CACHED_BAR = 1.1  # of the time of images in RAM


def encode(results: Path) -> str:
    """Encoding speed against the published setting."""
    found = read(results / "encode.json")
    if found is None:
        return not_measured("python benchmarks/encode.py")
    rows = [
        (
            r["clip"],
            r["codec"],
            f"{r['bytes_per_frame']:,.0f}",
            f"{r['object_db']:.1f}",
            f"{r['seconds_per_frame']:.3f}",
            f"{r['times_faster']:,.0f}",
        )
        for r in found["rows"]
    ]
    first = found["rows"][0]
    whole = read(results / "encode_to_the_end.json")
    if whole is None:
        ended = "The published fit was not run to its end."
    else:
        one = whole["rows"][0]
        ours = ", ".join(f"{r['codec']} {r['first_object_db']:.1f} dB" for r in whole["rows"])
        ended = (
            f"Run to its end on a frame of {one['size']} (`--published-steps 10000`, encode_to_the_end.json), the "
            f"published fit took {one['published_seconds_per_frame']:,.0f} s and reached "
            f"{one['published_object_db']:.1f} dB in the box; on that frame: {ours}."
        )
    return paragraphs(
        prose(
            "**Encoding** (`python benchmarks/encode.py --data otb100:PATH/Crossing --frames 0:8`), against 10,000 "
            f"full-batch steps of the published setting, {first['published_seconds_per_frame']:,.0f} processor seconds "
            f"a frame ({first['published_is']}):"
        ),
        table(("clip", "codec", "B/frame", "object dB", "CPU s/frame", "times faster"), rows),
        prose(ended),
    )


def decode(results: Path) -> str:
    """Frames a second from resident payloads, and from payload bytes, beside JPEG files."""
    found = read(results / "decode.json")
    if found is None:
        return not_measured("python benchmarks/decode.py")
    columns = ("warm_frames_per_s", "warm_frames_per_s_alone", "cold_frames_per_s", "first_ms")
    rows: dict[str, list[tuple[str, ...]]] = {}
    for r in found["summary"]:
        rows.setdefault(r["size"], []).append((r["subject"], *(_number(r[column]) for column in columns)))
    absent = "".join(f" {name} is absent: {why}." for name, why in found["absent"].items())
    machine = found["machine"]
    return paragraphs(
        prose(
            f"`python benchmarks/decode.py` on {machine['cores']} cores ({machine['cpu']}), device "
            f"{found['settings']['device']}: {len({r['clip'] for r in found['rows']})} clips of "
            f"{found['settings']['frames']} frames of 640x360, medians. Warm: frames a second in the best batch, and "
            "one by one; cold: frames a second and milliseconds to the first picture, from payload bytes. Classical "
            "codecs are decoded when a payload arrives, so that warm they are only resized. JPEG files are decoded, "
            'resized and copied each time; "kept decoded" is with `cache_bytes`.'
        ),
        *(
            paragraphs(f"At {size}:", table(("", "warm, frames/s", "one by one", "cold, frames/s", "first, ms"), cells))
            for size, cells in rows.items()
        ),
        prose(absent.strip() or "Nothing was left out."),
    )


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def train(results: Path) -> str:
    """Time of an epoch from payloads against ultralytics' JPEG loader."""
    found = read(results / "train.json")
    if found is None:
        return not_measured("python benchmarks/train.py")
    rows = [
        (
            r["stage"],
            f"{r['seconds_per_epoch']:.2f}",
            f"{r['to_cached_images']:.2f}",
            f"{100 * r['waiting_share']:.0f} %",
            f"{r['data_bytes']:,}",
        )
        for r in found["rows"]
    ]
    cached = [r["to_cached_images"] for r in found["rows"] if r["stage"].endswith("cache on")]
    met = "is met" if max(cached, default=math.inf) <= CACHED_BAR else "is missed"
    settings = found["settings"]
    return paragraphs(
        prose(
            f"`python benchmarks/train.py` on {found['machine']['cores']} cores, device {settings['device']}: an epoch "
            f"of {settings['model'].removesuffix('.yaml')} over {found['frames']} frames ({settings['data']}) at "
            f"{settings['size']} px, batches of {settings['batch']}, ultralytics' default augmentation, medians. "
            f"Waiting: share of the epoch between two steps. {CACHED_BAR:g} times the time of images in RAM, as asked "
            f"of payloads kept decoded, {met}."
        ),
        table(("", "s an epoch", "to images in RAM", "waiting", "bytes of the data"), rows),
    )


def augment(results: Path) -> str:
    """What coordinate-space augmentation costs over the plain render."""
    found = read(results / "augment.json")
    if found is None:
        return not_measured("python benchmarks/augment.py")
    ways, agreed = list(found["rows"][0]["ms"]), found["agreement_db"]
    rows = [(r["codec"], *(f"{r['ms'][way]:,.0f}" for way in ways), f"{r['over_stretch']:.2f}x") for r in found["rows"]]
    return paragraphs(
        prose(
            f"`python benchmarks/augment.py`, {found['settings']['batch']} frames of 640x360 to "
            f"{found['settings']['size']} px square, one thread, device {found['settings']['device']}, ms a batch; "
            "`stretch` is the plain render, `everything` ultralytics' defaults with colour:"
        ),
        table(("", *ways, "most over `stretch`"), rows),
        prose(
            f"Drawn straight from `scene` and from frames decoded first, {agreed['pictures']} augmented pictures "
            f"agree to {agreed['median']:.0f} dB in the median, the worst to {agreed['least']:.0f} dB."
        ),
    )


def encode_scale(results: Path) -> str:
    """Clips a second of the fog's encoders."""
    found = read(results / "encode_scale.json")
    if found is None:
        return not_measured("python benchmarks/encode_scale.py")
    rows = [
        (
            "in the fog's process" if r["encoder"] == "here" else f"Ray, {r['encoder']}",
            f"{r['clips_per_s']:.2f}",
            f"{r['efficiency']:.2f}" if "efficiency" in r else "-",
        )
        for r in found["rows"]
    ]
    return paragraphs(
        prose(
            f"Clips of {whole_span(found['frames'])} frames, {found['machine']['cores']} cores (`{found['command']}`); "
            "efficiency is clips a second over those of one worker, divided by the workers:"
        ),
        table(("encoder", "clips/s", "efficiency"), rows),
    )
