"""``rinr decode``: payload files to pictures, or to a data set that other tools open."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from PIL import Image
from rich.console import Console

from rinr_flower.commands.encode import SUFFIX
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.files import payload_in, read_file
from rinr_flower.terminal import check_target, new_folder, parse_size, progress_bar

if TYPE_CHECKING:
    from rinr_flower.frames import Frame

FORMATS = ("png", "yolo", "coco")
PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""Folders' names, and the part of a data set whose payloads they hold."""


def decode(
    files: Annotated[
        list[Path], typer.Argument(help="payload files, or folders of them; train/, val/ and test/ become parts")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to write into")],
    size: Annotated[str, typer.Option(help="WxH; the camera's size if not given")] = "",
    form: Annotated[
        str,
        typer.Option("--format", help="png: pictures; yolo: pictures, labels and data.yaml; coco: pictures and JSON"),
    ] = "png",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
) -> None:
    """Decode payload files to pictures (000001.png, ...), or to a data set that ultralytics or a COCO tool opens."""
    from rinr_flower.datasets.export import WRITERS
    from rinr_flower.devices import pick_device

    if form not in FORMATS:
        raise ConfigError(f"--format {form!r} is not one of {', '.join(FORMATS)}")
    wanted = parse_size(size) if size else None
    target = str(pick_device(device))
    check_target(output)
    parts = _parts(files)
    total = sum(map(len, parts.values()))
    writer = WRITERS[form](new_folder(output)) if form != "png" else None
    sizes: set[tuple[int, int]] = set()
    written, done = 0, 0
    with progress_bar(f"decoding {total} payloads" if total > 1 else f"decoding {files[0].name}") as report:
        for part, payloads in parts.items():
            for file in payloads:
                for index, count, frame, class_names in _frames(file, wanted, target):
                    sizes.add((frame.width, frame.height))
                    if writer is None:
                        folder = new_folder(output) if total == 1 else new_folder(new_folder(output) / file.stem)
                        _save(frame, folder / f"{index + 1:06d}.png")
                    else:
                        writer.add(frame, class_names, part=part, name=f"{file.stem}-{index + 1:06d}")
                    written += 1
                    report((done + (index + 1) / count) / total)
                done += 1
    opened = "" if writer is None else f"; open {writer.close()}"
    shown = " and ".join(f"{w}x{h}" for w, h in sorted(sizes)) if len(sizes) < 4 else f"{len(sizes)} sizes"
    Console().print(f"{output}: {written} pictures of {shown}{opened}", highlight=False, soft_wrap=True)


def _parts(files: Sequence[Path]) -> dict[str, list[Path]]:
    """Payload files by part: that of the innermost folder, down from each of ``files``, that has its name, else
    ``train``."""
    parts: dict[str, list[Path]] = {}
    for path in files:
        found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
        if not found:
            raise DataError(f"{path} holds no payloads (*{SUFFIX})")
        for file in found:
            top = path if path.is_dir() else path.parent
            names = (Path(os.path.abspath(top)).name, *file.relative_to(top).parts[:-1])
            part = next((PARTS[name] for name in reversed(names) if name in PARTS), "train")
            parts.setdefault(part, []).append(file)
    stems = [file.stem for found in parts.values() for file in found]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise DataError(
            f"two payloads are called {twice[0]}{SUFFIX}; decode them into different folders, or rename one"
        )
    return parts


def _frames(file: Path, size: tuple[int, int] | None, device: str) -> Iterator[tuple[int, int, Frame, tuple[str, ...]]]:
    """Number, count, picture with labels, and class names of every frame of a payload."""
    from rinr_flower.bitstream.container import Payload
    from rinr_flower.codecs import codecs
    from rinr_flower.codecs.base import to_uint8
    from rinr_flower.decoding import FrameStore
    from rinr_flower.frames import Frame

    data = read_file(file)
    with payload_in(file):
        codec = Payload.from_bytes(data).codec
        if codec not in codecs.names():
            absent = f"made with codec {codec!r}, which is not installed here; install the package that registers it"
            raise PayloadError(codecs.broken.get(codec, absent))
        store = FrameStore([data], device=device)
    for index in range(len(store)):
        own = store.frame_size(index)
        width, height = size or own
        picture = to_uint8(store.render([index], (height, width))[0]).permute(1, 2, 0).cpu().numpy()
        boxes, classes = store.labels(index)
        scale = np.array([width / own[0], height / own[1]] * 2, np.float32)
        yield index, len(store), Frame(picture, boxes * scale, classes), store.class_names(index)


def _save(frame: Frame, path: Path) -> None:
    try:
        Image.fromarray(frame.image).save(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error
