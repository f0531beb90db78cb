"""``rinr inspect``: what a payload file holds."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rinr_flower.files import payload_in, read_file


def inspect(
    file: Annotated[Path, typer.Argument(help="payload file")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable; keys in docs/format.md")] = False,
) -> None:
    """Show what a payload file holds and where its bytes are."""
    from rinr_flower.bitstream.container import Payload
    from rinr_flower.codecs.part_names import part_name

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
        table.add_row(f"  {part_name(payload.codec, part)}", f"{count:,}")
    Console().print(table)
