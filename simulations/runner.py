"""One run from its scenario to its record: the fog in this process, the devices in Ray's."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from rinr_flower.clients import DeviceFolder, client_app
from rinr_flower.datasets import Broken
from rinr_flower.devices import pick_device
from rinr_flower.report import RunRecord
from rinr_flower.simulations.engine import check_device, logged_to, simulation
from rinr_flower.simulations.fleet import OPENED_BYTES, equip, equipped, shares_of, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.stopping import StopSignals

Progress = Callable[[str, float], None]


def run_scenario(scenario: Scenario, progress: Progress, stop: StopSignals | None = None) -> RunRecord:
    """Run a scenario; its folder holds record and report when this returns. Raises RinrError on bad input."""
    check_device(pick_device(scenario.device), scenario.ray_address)
    broken = Broken(scenario.skip_broken)
    shares = shares_of(scenario, partial(progress, "data"), broken)
    run = RunFolder.create(scenario.out)
    scenario.save(run.scenario)
    return run_equipped(scenario, run, equip(shares, run.devices, broken.reasons), progress, stop)


def resume_scenario(
    scenario: Scenario, run: RunFolder, progress: Progress, stop: StopSignals | None = None
) -> RunRecord:
    """Go on with a run that was broken off; one that is finished gets its report written again."""
    check_device(pick_device(scenario.device), scenario.ray_address)
    folders = equipped(run.devices, scenario.num_clients)
    if not folders:
        broken = Broken(scenario.skip_broken)
        folders = equip(shares_of(scenario, partial(progress, "data"), broken), run.devices, broken.reasons)
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
    signals = StopSignals() if stop is None else stop
    device = pick_device(scenario.device)
    open_device = partial(simulated_device, devices=run.devices, device=device.type)
    client = client_app(open_device, threads=1, opened_bytes=OPENED_BYTES)
    with (
        logged_to(run.log),
        simulation(
            client,
            scenario.num_clients,
            device=device,
            parallel=scenario.parallel,
            resources=scenario.resources(),
            encoders=scenario.encoders,
            address=scenario.ray_address,
            folder=run.devices,
        ) as engine,
        signals,
    ):  # signals after Ray, which sets handlers of its own
        turns = math.ceil(scenario.num_clients / engine.plan.parallel)
        return main_job(
            engine.grid, scenario, run, folders, progress, turns=turns, stop=signals, encoder=engine.encoder
        )
