"""The ``rinr`` command: payload files, data sets and runs."""

from __future__ import annotations

from typing import Annotated

import typer

from rinr_flower.commands import data, decode, encode, inspect, listing, model, watch
from rinr_flower.terminal import HELP, parse_frames, parse_settings, parse_size, progress_bar, run, version_option

__all__ = ["app", "main", "parse_frames", "parse_settings", "parse_size", "progress_bar", "run"]

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__, context_settings=HELP
)
for command in (
    encode.encode,
    decode.decode,
    inspect.inspect,
    data.data,
    model.model,
    watch.watch,
    listing.codecs,
    listing.datasets,
):
    app.command()(command)


@app.callback()
def options(
    wanted: Annotated[bool, version_option("rinr_flower")] = False,
) -> None:
    """Encode clips, decode and inspect payload files, look at data sets, watch runs and take their detectors."""


def main() -> None:
    """Entry point of ``rinr``."""
    run(app)


if __name__ == "__main__":
    main()
