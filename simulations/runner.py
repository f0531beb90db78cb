"""One run from its scenario to its record, in this process and Flower's simulation engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from rinr_flower.clients import client_app
from rinr_flower.simulations.engine import log_to, simulate
from rinr_flower.simulations.fleet import equip, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario

from rinr_flower.bandwidth import RunRecord
from rinr_flower.devices import pick_device


def run_scenario(scenario: Scenario, progress: Callable[[str, float], None]) -> RunRecord:
    """Run a scenario; its folder holds the record when this returns. Raises RinrError on bad input."""
    device = pick_device(scenario.device)
    run = RunFolder.create(scenario.out)
    scenario.save(run.path / "scenario.yaml")
    log_to(run.log)
    folders = equip(scenario, run.devices, partial(progress, "data"))
    records: list[RunRecord] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        records.append(main_job(grid, scenario, run, folders, progress))

    parallel = min(scenario.parallel or os.cpu_count() or 1, scenario.num_clients)
    client = client_app(partial(simulated_device, devices=run.devices, device=str(device)), threads=1)
    simulate(server, client, scenario.num_clients, parallel=parallel, device=device)
    return records[0]
