"""``rinr data``: what a data set holds, before it is used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rinr_flower.errors import ConfigError
from rinr_flower.terminal import check_target, parse_frames, progress_bar

if TYPE_CHECKING:
    from rinr_flower.datasets import Broken, Source

LISTED = 20


def data(
    source: Annotated[str, typer.Argument(help="KIND:PATH, a folder of images, or a data set file")],
    frames: Annotated[str, typer.Option(help="A:B, frames A (from 0) up to but not including B of every clip")] = "",
    seed: Annotated[int, typer.Option(min=0, help="of a generated data set")] = 0,
    show: Annotated[Path | None, typer.Option(help="picture file to draw a contact sheet with boxes into")] = None,
    check: Annotated[bool, typer.Option("--check", help="decode every picture, not only its header")] = False,
) -> None:
    """List what is there: clips, sizes, boxes by class, and what cannot be read."""
    from rinr_flower.datasets import Broken, sources

    if show is not None:
        _check_picture(show)
    broken = Broken(skip=True, quiet=True)
    with progress_bar(f"reading {source}") as report:
        found = sources(source, frames=parse_frames(frames), seed=seed, broken=broken, progress=report)
        if check:
            found = _decodable(found, broken, report)
    console = Console()
    if show is not None and found:
        from rinr_flower.datasets.contact_sheet import contact_sheet

        contact_sheet(found, broken).save(show)
        console.print(f"{show}: contact sheet", highlight=False, soft_wrap=True)
    console.print(_clips(found))
    console.print(_classes(found))
    for clip in found:
        if lost := sum(shot.boxes(*shot.size)[2] for shot in clip.shots):
            console.print(
                Text(f"{clip.name}: boxes outside the frame or thinner than a pixel, which are dropped: {lost:,}")
            )
    if broken.reasons:
        console.print(
            Text(f"{len(broken.reasons)} broken, to be mended or left out (--skip-broken; in a scenario, skip_broken):")
        )
        for reason in broken.reasons[:LISTED]:
            console.print(Text(f"  {reason}"), soft_wrap=True)  # as it is: a path may look like markup
        if len(broken.reasons) > LISTED:
            console.print(f"  and {len(broken.reasons) - LISTED} more")


def _check_picture(path: Path) -> None:
    """ConfigError if no picture can be written under this name, DataError if its folder is missing."""
    from PIL import Image

    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ConfigError(f"--show {path}: no picture has this ending; name it .png, .jpg or .webp")
    check_target(path)


def _decodable(found: list[Source], broken: Broken, report: Callable[[float], None]) -> list[Source]:
    """The sources with the pictures that can be decoded."""
    total, done = sum(map(len, found)), 0
    left = []
    for source in found:
        shots = []
        for shot in source.shots:
            with broken.caught(shot):
                shot.frame()
                shots.append(shot)
            done += 1
            report(done / total)
        if shots:
            left.append(source.of(shots))
    return left


def _clips(found: list[Source]) -> Table:
    table = Table("#", "clip", "frames", "size", "boxes", "", title_justify="left")
    for number, source in enumerate(found, start=1):
        sizes = Counter(shot.size for shot in source.shots)
        (width, height), _ = sizes.most_common(1)[0]
        size = f"{width}x{height}" + (f" and {len(sizes) - 1} more" if len(sizes) > 1 else "")
        boxes = sum(len(shot.labels.boxes) for shot in source.shots)
        kind = "sequence" if source.is_sequence else "collection"
        table.add_row(str(number), Text(source.name), f"{len(source):,}", size, f"{boxes:,}", kind)
    return table


def _classes(found: list[Source]) -> Table:
    boxes: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    for source in found:
        for shot in source.shots:
            names = [source.class_names[label] for label in shot.labels.classes]
            boxes.update(names)
            frames.update(set(names))
    table = Table("class", "boxes", "frames", title_justify="left")
    for name, count in boxes.most_common():
        table.add_row(Text(name), f"{count:,}", f"{frames[name]:,}")
    empty = sum(1 for source in found for shot in source.shots if not len(shot.labels.boxes))
    table.add_row(Text("no boxes", style="italic"), "", f"{empty:,}")
    return table
