"""The ``rinr`` command: encode clips to payload files, decode them to pictures, look inside."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rinr_flower.errors import ConfigError, DataError, RinrError
from rinr_flower.files import payload_in, read_file, write_file

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
_out = Console()


@app.command()
def encode(
    source: Annotated[
        str, typer.Argument(help="as for --data, down to one sequence: otb100:PATH/Crossing, folder:PATH")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="payload file to write")],
    codec: Annotated[str, typer.Option(help="registered codec")] = "scene",
    settings: Annotated[list[str] | None, typer.Option("--set", help="codec option, key=value; repeatable")] = None,
    frames: Annotated[str, typer.Option(help="A:B, frames A (from 0) up to but not including B")] = "",
    seed: Annotated[int, typer.Option(help="seed of everything random")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
) -> None:
    """Encode one clip to a payload file."""
    from rinr_flower.codecs import codecs
    from rinr_flower.datasets import load
    from rinr_flower.devices import pick_device

    chosen = codecs.create(codec, **parse_settings(settings or []))
    target = pick_device(device)
    clips = load(source, frames=parse_frames(frames), seed=seed)
    if len(clips) != 1:
        names = ", ".join(c.name for c in clips[:8])
        raise DataError(f"{source!r} holds {len(clips)} clips ({names}); name one of them")
    with progress_bar(f"encoding {clips[0].name}") as report:
        payload = chosen.encode(clips[0], seed=seed, device=target, progress=report)
    write_file(output, payload)
    camera = clips[0].file_bytes()
    ratio = f", 1/{camera / len(payload):.1f} of the camera's {camera:,}" if camera else ""
    _out.print(f"{output}: {len(payload):,} bytes, {len(payload) / len(clips[0]):,.0f} a frame{ratio}")


@app.command()
def decode(
    file: Annotated[Path, typer.Argument(help="payload file")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for 000001.png, 000002.png, ...")],
    size: Annotated[str, typer.Option(help="WxH; the camera's size if not given")] = "",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
) -> None:
    """Decode a payload file to PNG pictures."""
    from rinr_flower.codecs.base import to_uint8
    from rinr_flower.decoding import FrameStore
    from rinr_flower.devices import pick_device

    with payload_in(file):
        store = FrameStore([read_file(file)], device=pick_device(device))
    width, height = parse_size(size) if size else store.frame_size(0)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{output}: cannot make this folder: {error.strerror}") from error
    with progress_bar(f"decoding {file.name}") as report:
        for index in range(len(store)):
            picture = to_uint8(store.render([index], (height, width))[0]).permute(1, 2, 0).cpu().numpy()
            Image.fromarray(picture).save(output / f"{index + 1:06d}.png")
            report((index + 1) / len(store))
    _out.print(f"{output}: {len(store)} pictures of {width}x{height}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="payload file")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable; keys in docs/format.md")] = False,
) -> None:
    """Show what a payload file holds and where its bytes are."""
    from rinr_flower.bitstream.container import Payload

    data = read_file(file)
    with payload_in(file):
        payload = Payload.from_bytes(data)
    facts: dict[str, Any] = {
        "codec": payload.codec,
        "frames": len(payload),
        "width": payload.width,
        "height": payload.height,
        "boxes": sum(len(b) for b in payload.boxes),
        "class_names": list(payload.class_names),
        "bytes": len(data),
        "bytes_per_frame": len(data) / len(payload),
        "bytes_by_part": payload.bytes_by_part(),
    }
    if as_json:
        sys.stdout.write(json.dumps(facts, indent=2) + "\n")
        return
    table = Table("", "", show_header=False, title=str(file))
    for key in ("codec", "frames", "boxes"):
        table.add_row(key, str(facts[key]))
    table.add_row("size", f"{payload.width}x{payload.height}")
    table.add_row("bytes", f"{len(data):,} ({len(data) / len(payload):,.0f} a frame)")
    for part, count in payload.bytes_by_part().items():
        table.add_row(f"  {part}", f"{count:,}")
    _out.print(table)


def parse_settings(settings: list[str]) -> dict[str, str]:
    """``key=value`` strings as a mapping."""
    pairs = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not (key and sign):
            raise ConfigError(f"--set {setting!r} is not key=value")
        pairs[key] = value
    return pairs


def parse_frames(text: str) -> slice | None:
    """``A:B`` as a slice; empty is all frames."""
    if not text:
        return None
    first, sign, last = text.partition(":")
    try:
        chosen = slice(int(first) if first else 0, int(last) if last else None)
    except ValueError:
        chosen = slice(0, 0)
    if not sign or chosen.start < 0 or (chosen.stop is not None and chosen.stop <= chosen.start):
        raise ConfigError(f"--frames {text!r} is not A:B with 0 <= A < B, for example 0:32")
    return chosen


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` as (width, height) in pixels."""
    from rinr_flower.frames import MAX_FRAME_PX

    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1 or width * height > MAX_FRAME_PX:
        raise ConfigError(f"--size {text!r} is not WxH in pixels within {MAX_FRAME_PX:,} in all, for example 640x360")
    return width, height


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error; yields the function that takes the fraction done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def run(command: Callable[[], object]) -> None:
    """Run a command line; input errors become one line on standard error and exit code 2."""
    try:
        command()
    except RinrError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)


def main() -> None:
    """Entry point of ``rinr``."""
    run(app)


if __name__ == "__main__":
    main()
