"""One run from its scenario to its record, in this process and Flower's simulation engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from rinr_flower.bandwidth import RunRecord
from rinr_flower.clients import DeviceFolder, client_app
from rinr_flower.devices import pick_device
from rinr_flower.simulations.engine import logged_to, simulate
from rinr_flower.simulations.fleet import equip, shares_of, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario

Progress = Callable[[str, float], None]


def run_scenario(scenario: Scenario, progress: Progress) -> RunRecord:
    """Run a scenario; its folder holds record and report when this returns. Raises RinrError on bad input."""
    pick_device(scenario.device)
    shares = shares_of(scenario, partial(progress, "data"))
    run = RunFolder.create(scenario.out)
    scenario.save(run.path / "scenario.yaml")
    return run_equipped(scenario, run, equip(shares, run.devices), progress)


def run_equipped(scenario: Scenario, run: RunFolder, folders: list[DeviceFolder], progress: Progress) -> RunRecord:
    """Run a scenario whose devices have their frames on disk."""
    records: list[RunRecord] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        records.append(main_job(grid, scenario, run, folders, progress))

    device = pick_device(scenario.device)
    client = client_app(partial(simulated_device, devices=run.devices, device=str(device)), threads=1)
    parallel = min(scenario.parallel or os.cpu_count() or 1, scenario.num_clients)
    with logged_to(run.log):
        simulate(server, client, scenario.num_clients, parallel=parallel, device=device)
    return records[0]
