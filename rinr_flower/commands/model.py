"""``rinr model``: a trained detector as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rinr_flower.terminal import check_target


def model(
    source: Annotated[Path, typer.Argument(help="folder of a run, or of a device's state")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".pt for ultralytics, or .npz of named arrays; replaced if it exists")
    ],
    device: Annotated[
        str, typer.Option(help="of the run, by number or name; without it the model that all devices have in common")
    ] = "",
) -> None:
    """Write the detector that a run or a device has trained to a file that ultralytics opens."""
    from rinr_flower.simulations.trained_model import trained_model

    check_target(output)
    found = trained_model(source, device)
    found.write(output)
    names = ", ".join(found.detector["class_names"])
    typer.echo(f"{output}: {output.stat().st_size:,} bytes, classes: {names}")
