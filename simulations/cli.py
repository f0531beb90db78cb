"""The ``flower-simulation`` command."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rinr_flower.errors import ConfigError
from rinr_flower.simulations.progress import Terminal
from rinr_flower.terminal import HELP, parse_yaml_settings, run, version_option

# before torch is loaded, here and in the devices' processes: OpenMP threads that wait for a core should not burn one
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, context_settings=HELP)


@app.command()
def simulate(
    num_clients: Annotated[int | None, typer.Option(help="edge devices", show_default="10")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="rounds of capture, sharing, training, evaluation", show_default="2")
    ] = None,
    codec: Annotated[
        str | None, typer.Option(help="what the fog encodes with; options by --set codec.KEY=", show_default="scene")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="sample, otb100:PATH, uav123:PATH, dac_sdc:PATH, ...", show_default="sample")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="factory, scratch, a path, or a name such as yolov8m.pt", show_default="factory")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="fog, fog_training, auto, compressed_fedavg, jpeg_serverless, jpeg_relay", show_default="fog"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps", show_default="auto")] = None,
    seed: Annotated[int | None, typer.Option(help="random choices follow from it", show_default="0")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", "--output", help="the run's folder", show_default="runs/DATE-TIME")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="scenario: a YAML file, or a shipped one by its name", show_default="default")
    ] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="leave out files of the data set that cannot be read, and name them")
    ] = False,
    log: Annotated[
        list[str] | None, typer.Option(help="tell a tracker: tensorboard, mlflow, wandb; repeatable")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="serve a page of the run on loopback")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="any scenario key=value; repeatable")] = None,
    resume: Annotated[Path | None, typer.Option(help="go on with the run in this folder, with its scenario")] = None,
    version: Annotated[bool, version_option("flower-simulation", "flwr")] = False,
) -> None:
    """Simulate edge devices that learn from each other's frames through a fog node.

    Options left out keep the scenario's values; defaults are those of the scenario "default". Ctrl-C ends the run with
    a report of what there is, a second one at once.
    """
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
        "skip_broken": skip_broken or None,
        "log": log,
    }
    if resume is not None and out is not None:
        raise ConfigError(f"give either --resume or --out: a run goes on in its own folder, here {resume}")
    with Terminal() as terminal:
        terminal("loading PyTorch and Flower", 0.0)
        from rinr_flower.simulations.scenario import begun_scenario, load_scenario

        overrides: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        overrides |= parse_yaml_settings(settings or [])
        scenario = load_scenario(config, overrides) if resume is None else begun_scenario(resume, config, overrides)

        from rinr_flower.simulations.ending import ending
        from rinr_flower.simulations.result_table import show_result
        from rinr_flower.simulations.run_folder import RunFolder
        from rinr_flower.simulations.runner import resume_scenario, run_scenario
        from rinr_flower.simulations.stopping import StopSignals

        terminal("loading PyTorch and Flower", 1.0)
        stop = StopSignals()
        with terminal.shows_log():
            if resume is None:
                record = run_scenario(scenario, terminal, stop, live="yes" if live else "")
            else:
                record = resume_scenario(
                    scenario, RunFolder(resume.resolve()), terminal, stop, live="yes" if live else ""
                )
    console = Console()
    for line in ending(record):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    show_result(record, console)
    raise typer.Exit(stop.exit_code)


def main() -> None:
    """Entry point of ``flower-simulation``."""
    logging.captureWarnings(True)
    run(app)


if __name__ == "__main__":
    main()
