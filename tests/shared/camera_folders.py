"""A share of a data set as a camera would leave it on a device's disk: image files with YOLO label files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rinr_flower.datasets import Share
from rinr_flower.frames import Frame, write_jpeg

FRAMES = "frames"  # name of the folder, and so of every clip in it


def write_camera_folder(parent: Path, share: Share) -> Path:
    """The folder ``parent/frames`` with all captures in order; the frames for evaluation are in ``held-back`` in it."""
    folder = parent / FRAMES
    names = share.held_back[0].class_names
    _write(folder, [frame for part in share.captures for clip in part for frame in clip.frames], names)
    _write(folder / "held-back", [frame for clip in share.held_back for frame in clip.frames], names)
    return folder


def _write(folder: Path, frames: Sequence[Frame], class_names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in class_names))
    for number, frame in enumerate(frames, start=1):
        rows = []
        for (x1, y1, x2, y2), label in zip(frame.boxes.astype(float), frame.classes, strict=True):
            centre = (x1 + x2) / 2 / frame.width, (y1 + y2) / 2 / frame.height
            size = (x2 - x1) / frame.width, (y2 - y1) / frame.height
            rows.append(f"{label} {' '.join(map(repr, map(float, (*centre, *size))))}\n")
        (folder / f"{number:06d}.txt").write_text("".join(rows))
        (folder / f"{number:06d}.jpg").write_bytes(frame.file or write_jpeg(frame.image, 95))
