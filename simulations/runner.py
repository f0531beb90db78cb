"""One run from its scenario to its record, in this process and Flower's simulation engine."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from rinr_flower.clients import DeviceFolder, client_app
from rinr_flower.devices import pick_device
from rinr_flower.report import RunRecord
from rinr_flower.simulations.engine import logged_to, simulate
from rinr_flower.simulations.fleet import OPENED_BYTES, equip, equipped, shares_of, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.stopping import StopSignals

Progress = Callable[[str, float], None]


def run_scenario(scenario: Scenario, progress: Progress, stop: StopSignals | None = None) -> RunRecord:
    """Run a scenario; its folder holds record and report when this returns. Raises RinrError on bad input."""
    pick_device(scenario.device)
    shares = shares_of(scenario, partial(progress, "data"))
    run = RunFolder.create(scenario.out)
    scenario.save(run.scenario)
    return run_equipped(scenario, run, equip(shares, run.devices), progress, stop)


def resume_scenario(
    scenario: Scenario, run: RunFolder, progress: Progress, stop: StopSignals | None = None
) -> RunRecord:
    """Go on with a run that was broken off; one that is finished gets its report written again."""
    pick_device(scenario.device)
    folders = equipped(run.devices, scenario.num_clients)
    if not folders:
        folders = equip(shares_of(scenario, partial(progress, "data")), run.devices)
    if run.whole_rounds() >= scenario.rounds:
        return main_job(None, scenario, run, folders, progress)
    return run_equipped(scenario, run, folders, progress, stop)


def run_equipped(
    scenario: Scenario,
    run: RunFolder,
    folders: list[DeviceFolder],
    progress: Progress,
    stop: StopSignals | None = None,
) -> RunRecord:
    """Run a scenario whose devices have their frames on disk.

    A signal that ``stop`` catches ends the run early: the record says so and holds what there is.
    """
    records: list[RunRecord] = []
    server = ServerApp()
    signals = StopSignals() if stop is None else stop
    parallel = min(scenario.parallel or os.cpu_count() or 1, scenario.num_clients)
    turns = math.ceil(scenario.num_clients / parallel)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        records.append(main_job(grid, scenario, run, folders, progress, turns=turns, stop=signals))
        if signals.caught is not None:
            signals.leave(records[0])

    device = pick_device(scenario.device)
    open_device = partial(simulated_device, devices=run.devices, device=str(device))
    client = client_app(open_device, threads=1, opened_bytes=OPENED_BYTES)
    with logged_to(run.log):
        simulate(server, client, scenario.num_clients, parallel=parallel, device=device, stop=signals)
    return records[0]
