"""``bandwidth-report``: render runs' reports again and compare runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from rinr_flower.bandwidth.run import RunRecord
from rinr_flower.errors import RinrError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bandwidth_report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that runs have left behind.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where to write; default: into the run's folder, or ./comparison for several."
        ),
    ] = None,
) -> None:
    """Write the report of a run again; given several runs, write each report and a page that compares them."""
    from rinr_flower.bandwidth.report import write_report
    from rinr_flower.bandwidth.report.comparison import write_comparison

    console = Console()
    records = [RunRecord.load(folder) for folder in runs]
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for folder, record in zip(runs, records, strict=True):
            task = bar.add_task(f"report of {folder.name}", total=1.0)
            target = out if out is not None and len(runs) == 1 else folder
            written = write_report(record, target, progress=partial(_advance, bar, task))
            console.print(str(written[0]), highlight=False, soft_wrap=True)
            for text in record.missing:
                console.print(f"  missing: {text}", highlight=False, markup=False, soft_wrap=True)
    if len(runs) > 1:
        page = write_comparison(records, out or Path("comparison"))
        console.print(str(page), highlight=False, soft_wrap=True)


def _advance(bar: Progress, task: TaskID, done: float) -> None:
    bar.update(task, completed=done)


def main() -> None:
    """Entry point; bad input is one line on stderr and exit code 2."""
    try:
        app()
    except RinrError as error:
        print(f"bandwidth-report: {error}", file=sys.stderr)
        sys.exit(2)
