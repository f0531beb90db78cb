"""The ``flower-simulation`` command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rinr_flower.cli import parse_settings, run
from rinr_flower.errors import ConfigError

# before torch is loaded, here and in the devices' processes: OpenMP threads that wait for a core should not burn one
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def simulate(
    num_clients: Annotated[int | None, typer.Option(help="edge devices")] = None,
    rounds: Annotated[int | None, typer.Option(help="rounds of capture, sharing, training, evaluation")] = None,
    codec: Annotated[str | None, typer.Option(help="what the fog encodes with; options by --set codec.KEY=")] = None,
    data: Annotated[str | None, typer.Option(help="sample, otb100:PATH, uav123:PATH, dac_sdc:PATH, ...")] = None,
    weights: Annotated[str | None, typer.Option(help="factory, scratch, a path, or a name such as yolov8m.pt")] = None,
    strategy: Annotated[
        str | None, typer.Option(help="fog, fog_training, auto, compressed_fedavg, jpeg_serverless, jpeg_relay")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, mps")] = None,
    seed: Annotated[int | None, typer.Option(help="every random choice follows from it")] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder, new or empty [runs/DATE-TIME]")] = None,
    config: Annotated[str | None, typer.Option(help="scenario: a YAML file, or a shipped one by its name")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="any scenario key=value; repeatable")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with the run in this folder, with its scenario")] = None,
) -> None:
    """Simulate edge devices that learn from each other's frames through a fog node.

    Options left out keep the scenario's values; without --config that is the shipped scenario "default". Ctrl-C ends
    the run with a report of what there is, a second one at once.
    """
    from rinr_flower.simulations.scenario import begun_scenario, load_scenario

    named = {
        "num_clients": num_clients,
        "rounds": rounds,
        "codec": codec,
        "data": data,
        "weights": weights,
        "strategy": strategy,
        "device": device,
        "seed": seed,
        "out": None if out is None else str(out),
    }
    overrides: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    overrides |= {key: yaml.safe_load(value) for key, value in parse_settings(settings or []).items()}
    if resume is not None and out is not None:
        raise ConfigError("--resume goes on in the run's own folder; leave --out out")
    scenario = load_scenario(config, overrides) if resume is None else begun_scenario(resume, config, overrides)

    from rinr_flower.simulations.result_table import show_result
    from rinr_flower.simulations.run_folder import RunFolder
    from rinr_flower.simulations.runner import resume_scenario, run_scenario
    from rinr_flower.simulations.stopping import StopSignals

    stop = StopSignals()
    with _bars() as progress:
        if resume is None:
            record = run_scenario(scenario, progress, stop)
        else:
            record = resume_scenario(scenario, RunFolder(resume.resolve()), progress, stop)
    console = Console()
    show_result(record, console)
    console.print(f"report: {record.folder}/report.html", highlight=False, soft_wrap=True)
    raise typer.Exit(stop.exit_code)


@contextmanager
def _bars() -> Iterator[Callable[[str, float], None]]:
    """One progress bar for everything that is going on, on standard error; a finished one disappears."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=done, visible=done < 1)

        yield report


def main() -> None:
    """Entry point of ``flower-simulation``."""
    logging.captureWarnings(True)
    run(app)


if __name__ == "__main__":
    main()
