"""Tables of what a detector learns from decoded frames."""

from __future__ import annotations

from pathlib import Path

from rinr_flower.codecs import codecs

from .clips import clip_name
from .markdown import read, table
from .results import Row

ENOUGH_SEEDS = 2
HEADLINE_SEEDS = 3


def accuracy(results: Path) -> str:
    """mAP after training on each codec's frames, where enough seeds were trained."""
    found = read(results / "accuracy.json")
    return table(_ACCURACY, [_learned(r, found) for r in found["summary"] if len(r["seeds"]) >= ENOUGH_SEEDS])


def accuracy_all(results: Path) -> str:
    """Every row, with the clip that loses most."""
    found = read(results / "accuracy.json")
    rows = [(*_learned(r, found), *_ten_devices(r), _worst(r["worst_clip"])) for r in found["summary"]]
    return table((*_ACCURACY, "u", "10 devices", "worst clip"), rows)


_ACCURACY = ("trained on", "steps", "blurred", "B/frame", "fewer", "mAP50-95", "against the files", "mAP50", "seeds")


def _learned(r: Row, found: Row) -> tuple[str, ...]:
    strict, trained, difference = r["map50_95"], found["settings"][r["settings"]], r["map50_95_minus_camera"]
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


def trained_on_scene(found: Row) -> list[tuple[Row, Row]]:
    """Settings and summary of the rows of ``scene`` without blur that have three seeds or more, or as many as any."""
    rows = [
        r for r in found["summary"]
        if r["codec"] == "scene" and not found["settings"][r["settings"]]["blur"] and r["map50_95_minus_camera"]
    ]  # fmt: skip
    enough = min(HEADLINE_SEEDS, max((len(r["seeds"]) for r in rows), default=0))
    return [(found["settings"][r["settings"]], r) for r in rows if len(r["seeds"]) >= enough]


def _ten_devices(r: Row) -> tuple[str, str]:
    return f"{r['upload_bytes_per_frame'] / r['camera_bytes_per_frame']:.2f}", f"{r['ten_devices']['all']:.1f}x"


def _worst(clip: Row | None) -> str:
    return "-" if clip is None else f"{clip_name(clip['name'])} {100 * clip['minus_camera']:+.1f}"


def _route(spec: str) -> str:
    """A codec of the accuracy benchmark; one whose options are the defaults by its name alone."""
    name, _, rest = spec.partition(":")
    options = dict(item.split("=") for item in rest.split(",") if item)
    if "@" not in spec and options and codecs.create(name, **options) == codecs.create(name):
        return f"`{name}`"
    return f"`{spec}`"
