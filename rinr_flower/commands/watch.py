"""``rinr watch``: a run as a page that updates while it goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from rinr_flower.errors import DataError


def watch(
    run: Annotated[Path, typer.Argument(help="a run's folder, of a simulation or of a deployed fog")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="on loopback; 0 takes a free one")] = 8760,
) -> None:
    """Serve a page on loopback that shows a run while it goes on: devices, bytes, mAP, failures. Ctrl-C ends it."""
    if not run.is_dir():
        raise DataError(f"{run}: no such run folder")
    from rinr_flower.simulations.live_server import LOOPBACK, LiveServer

    with LiveServer(run.resolve(), LOOPBACK, port) as server:
        typer.echo(f"{server.url} shows {run}; Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
