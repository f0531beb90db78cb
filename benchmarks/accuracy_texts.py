"""What README.md and docs/accuracy.md say about benchmarks/results/accuracy.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from page_text import not_measured, paragraphs, prose, read, table

from rinr_flower.codecs import codecs

COMMAND = "RINR_DATA=DIR python benchmarks/accuracy.py"
ENOUGH_SEEDS = 2
HEAD = ("trained on", "steps", "blurred", "B/frame", "fewer", "mAP50-95", "against the files", "mAP50", "seeds")


def accuracy(results: Path) -> str:
    """What a detector learns from each codec's frames, where enough seeds were trained."""
    found = read(results / "accuracy.json")
    if found is None:
        return not_measured(COMMAND)
    first = found["settings"][0]
    rows = [_row(r, found["settings"]) for r in found["summary"] if len(r["seeds"]) >= ENOUGH_SEEDS]
    return paragraphs(
        prose(
            f"**Accuracy** (`{COMMAND}`): YOLOv8n from random weights, trained on frames {first['train']} of "
            f"{len(first['clips'])} sequences as decoded, tested on their frames {first['test']} as the camera took "
            f"them; mean over {ENOUGH_SEEDS} seeds or more \u00b1 standard deviation, in points; differences over the "
            "seeds that both rows have. `X@Y`: devices upload Y, and the fog sends X made of that. Blurred: the share "
            "of frames that training blurs at random (`--blur`), the camera's too. All rows: "
            "[accuracy](docs/accuracy.md)."
        ),
        table(HEAD, rows),
    )


def accuracy_all(results: Path) -> str:
    """Every row, with the clip that loses most."""
    found = read(results / "accuracy.json")
    if found is None:
        return not_measured(COMMAND)
    rows = [(*_row(r, found["settings"]), *_ten_devices(r), _worst(r["worst_clip"])) for r in found["summary"]]
    return table((*HEAD, "u", "10 devices", "worst clip"), rows)


def _row(r: dict[str, Any], settings: list[dict[str, Any]]) -> tuple[str, ...]:
    strict, trained, difference = r["map50_95"], settings[r["settings"]], r["map50_95_minus_camera"]
    spread = "" if strict["std"] is None else f" \u00b1 {100 * strict['std']:.1f}"
    return (
        _route(r["codec"]),
        f"{trained['steps']:,} of {trained['size_px']} px",
        f"{100 * trained['blur']:.0f} %",
        f"{r['bytes_per_frame']:,.0f}",
        f"{r['camera_over_bytes']:.0f}x",
        f"{100 * strict['mean']:.1f}{spread}",
        "-" if difference is None else f"{100 * difference['mean']:+.1f}",
        f"{100 * r['map50']['mean']:.1f}",
        str(len(r["seeds"])),
    )


def _ten_devices(r: dict[str, Any]) -> tuple[str, str]:
    return f"{r['upload_bytes_per_frame'] / r['camera_bytes_per_frame']:.2f}", f"{r['ten_devices']['all']:.1f}x"


def _worst(clip: dict[str, Any] | None) -> str:
    return "-" if clip is None else f"{clip['name'].partition('/')[2]} {100 * clip['minus_camera']:+.1f}"


def _route(spec: str) -> str:
    """A codec of the accuracy benchmark; one whose options are the defaults by its name alone."""
    name, _, rest = spec.partition(":")
    options = dict(item.split("=") for item in rest.split(",") if item)
    if "@" not in spec and options and codecs.create(name, **options) == codecs.create(name):
        return f"`{name}`"
    return f"`{spec}`"
