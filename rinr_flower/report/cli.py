"""``bandwidth-report``: render runs' reports again, compare runs, repeat the source's experiments."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from rinr_flower.errors import ConfigError
from rinr_flower.report.record import RunRecord
from rinr_flower.terminal import HELP, new_folder, parse_settings, run, version_option

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=HELP)


@app.command()
def bandwidth_report(
    runs: Annotated[list[Path] | None, typer.Argument(help="folders that runs have left behind")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="where to write", show_default="the run's folder; comparison; reproduction"),
    ] = None,
    reproduce: Annotated[
        bool, typer.Option("--reproduce", help="repeat the experiments of Residual-INR instead; goes on where it was")
    ] = False,
    profile: Annotated[
        str | None, typer.Option(help="settings of --reproduce: quick, hour, published", show_default="quick")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="data set of --reproduce, instead of the profile's; repeatable")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of --reproduce (clips, frames, steps, ...); repeatable")
    ] = None,
    version: Annotated[bool, version_option("bandwidth-report")] = False,
) -> None:
    """Write the report of a run again; given several runs, write each report and a page that compares them."""
    if reproduce:
        if runs:
            raise ConfigError(f"--reproduce takes no run folders; leave {runs[0]} out")
        _reproduce(profile or "quick", data or [], settings or [], out or Path("reproduction"))
        return
    if profile is not None or data or settings:
        raise ConfigError("--profile, --data and --set belong to --reproduce")
    if not runs:
        raise ConfigError("give the folder of a run, or --reproduce; -h explains both")
    _render(runs, out)


def _render(runs: list[Path], out: Path | None) -> None:
    from rinr_flower.report.comparison import write_comparison
    from rinr_flower.report.write import write_report

    console = Console()
    records = [RunRecord.load(folder) for folder in runs]
    if out is not None:
        new_folder(out)
    with _bar() as bar:
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


def _reproduce(name: str, data: list[str], settings: list[str], out: Path) -> None:
    from rinr_flower.report.experiment import profile
    from rinr_flower.report.reproduction import reproduce
    from rinr_flower.report.reproduction_page import write_reproduction

    chosen: dict[str, Any] = {**parse_settings(settings)}
    if data and "data" in chosen:
        raise ConfigError(f"--data {data[0]} and --set data={chosen['data']} both name the data; leave one out")
    experiment = profile(name, **chosen, **({"data": data} if data else {}))
    new_folder(out)
    with _bar() as bar:
        task = bar.add_task("reproduction", total=1.0)

        def tell(what: str, done: float) -> None:
            bar.update(task, description=what, completed=done)

        results = reproduce(experiment, out, tell)
    options = [f"--profile {name}", *(f"--data {spec}" for spec in data), *(f"--set {text}" for text in settings)]
    page = write_reproduction(results, out, f"bandwidth-report --reproduce {' '.join(options)}")
    Console().print(str(page), highlight=False, soft_wrap=True)


def _bar() -> Progress:
    return Progress(console=Console(stderr=True), transient=True)


def _advance(bar: Progress, task: TaskID, done: float) -> None:
    bar.update(task, completed=done)


def main() -> None:
    """Entry point of ``bandwidth-report``."""
    run(app)
