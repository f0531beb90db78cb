"""Tables of how fast encoding, decoding, training and augmenting are."""

from __future__ import annotations

from pathlib import Path

from .markdown import read, table
from .results import Row


def encode(results: Path) -> str:
    """Encoding speed against the published setting."""
    rows = []
    for r in read(results / "encode.json")["rows"]:
        cells = (f"{r['bytes_per_frame']:,.0f}", f"{r['object_db']:.1f}", f"{r['seconds_per_frame']:.3f}")
        published = f"{r['published_seconds_per_frame']:,.0f} ({r['published_is']})"
        rows.append((r["clip"], r["codec"], *cells, published))
    head = ("clip", "codec", "B/frame", "object dB", "CPU s/frame", "published, CPU s/frame")
    return table(head, rows)


def encode_to_the_end(results: Path) -> str:
    """PSNR of the published fit run to its end, and of this package's codecs, on the same frame.

    How many times faster a codec is stands only where it is at least as good.
    """
    found = read(results / "encode_to_the_end.json")["rows"]
    whole = (found[0]["published_object_db"], found[0]["published_seconds_per_frame"])
    published = ("published", f"{whole[0]:.1f}", f"{whole[1]:,.1f}", "1")
    ours = [
        (
            r["codec"],
            f"{r['first_object_db']:.1f}",
            f"{r['seconds_per_frame']:,.3f}",
            f"{whole[1] / r['seconds_per_frame']:,.0f}" if r["first_object_db"] >= whole[0] else "- (not as good)",
        )
        for r in found
    ]
    return table(("codec", "object dB", "CPU s/frame", "times faster"), [published, *ours])


def encode_scale(results: Path) -> str:
    """Clips a second of the fog's encoders."""
    rows = [
        (
            "in the fog's process" if r["encoder"] == "here" else f"Ray, {r['encoder']}",
            f"{r['clips_per_s']:.2f}",
            f"{r['efficiency']:.2f}" if "efficiency" in r else "-",
        )
        for r in read(results / "encode_scale.json")["rows"]
    ]
    return table(("encoder", "clips/s", "efficiency"), rows)


def decode(results: Path) -> str:
    """Frames a second from resident payloads, and from payload bytes, beside JPEG files."""
    columns = ("warm_frames_per_s", "warm_frames_per_s_alone", "cold_frames_per_s", "first_ms")
    found: dict[str, dict[str, Row]] = {}
    for r in read(results / "speed_decode.json")["summary"]["subjects"]:
        found.setdefault(r["subject"], {})[r["size"]] = r
    sizes = list(dict.fromkeys(size for by_size in found.values() for size in by_size))
    rows = [
        (subject, *(_number(by_size.get(size, {}).get(c)) for size in sizes for c in columns))
        for subject, by_size in found.items()
    ]
    head = [f"{what}, {size}" for size in sizes for what in ("warm", "one by one", "cold", "first, ms")]
    return table(("frames/s", *head), rows)


def train(results: Path) -> str:
    """Time of an epoch from payloads against ultralytics' JPEG loader."""
    rows = [
        (
            r["stage"],
            f"{r['seconds_per_epoch']:.2f}",
            f"{r['to_cached_images']:.2f}",
            f"{100 * r['waiting_share']:.0f} %",
            f"{r['data_bytes']:,}",
        )
        for r in read(results / "speed_train.json")["summary"]
    ]
    return table(("", "s an epoch", "to images in RAM", "waiting", "bytes of the data"), rows)


def augment(results: Path) -> str:
    """Cost of coordinate-space augmentation over the plain render."""
    found = read(results / "speed_augment.json")["rows"]
    ways = list(found[0]["ms"])
    rows = [(r["codec"], *(f"{r['ms'][way]:,.0f}" for way in ways), f"{r['over_stretch']:.2f}x") for r in found]
    return table(("ms a batch", *ways, "most over `stretch`"), rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"
