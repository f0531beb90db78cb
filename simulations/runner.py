"""One run from its scenario to its record: the fog in this process, the devices in Ray's."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from rinr_flower.clients import DeviceFolder, client_app
from rinr_flower.datasets import Broken
from rinr_flower.detection import architecture
from rinr_flower.devices import pick_device
from rinr_flower.errors import RinrError
from rinr_flower.report import RunRecord
from rinr_flower.simulations.engine import check_device, logged_to, simulation
from rinr_flower.simulations.fleet import OPENED_BYTES, WRITING, equip, equipped_in, shares_of, simulated_device
from rinr_flower.simulations.main_job import main_job
from rinr_flower.simulations.progress import NOTES
from rinr_flower.simulations.run_folder import RunFolder, check_unused, held, run_path
from rinr_flower.simulations.scenario import Scenario, load_scenario
from rinr_flower.simulations.start_model import start_model
from rinr_flower.simulations.stopping import StopSignals
from rinr_flower.workers.ray_cluster import check_reachable, cluster_of

log = logging.getLogger(NOTES)

Progress = Callable[[str, float], None]


def run_scenario(
    scenario: Scenario, progress: Progress, stop: StopSignals | None = None, *, live: str = ""
) -> RunRecord:
    """Run a scenario; its folder holds record and report when this returns.

    Goes on with the run in that folder if it is of the same scenario and not finished. Raises RinrError on bad input.
    """
    _check_machine(scenario)
    if (begun := _begun(scenario)) is not None:
        log.info("going on with the run that was begun in %s", begun.path)
        return resume_scenario(scenario, begun, progress, stop, live=live)
    path = run_path(scenario.out)
    check_unused(path)
    with held(path):
        architecture(scenario.detector).build(("object",))
        broken = Broken(scenario.skip_broken)
        shares = shares_of(scenario, partial(progress, "data"), broken)
        run = RunFolder.create(str(path))
        scenario.save(run.scenario)
        folders = equip(shares, run.devices, broken.reasons, partial(progress, WRITING))
        return run_equipped(scenario, run, folders, progress, stop, live=live)


def resume_scenario(
    scenario: Scenario, run: RunFolder, progress: Progress, stop: StopSignals | None = None, *, live: str = ""
) -> RunRecord:
    """Go on with a run that was broken off; one that is finished gets its report written again.

    Raises RinrError on bad input, and for a run of real devices.
    """
    _check_machine(scenario)
    with held(run.path):
        folders = equipped_in(run, scenario, progress)
        if run.whole_rounds() >= scenario.rounds:
            return main_job(None, scenario, run, folders, progress)
        return run_equipped(scenario, run, folders, progress, stop, live=live)


def _begun(scenario: Scenario) -> RunFolder | None:
    """The unfinished run of the same scenario in the scenario's folder."""
    try:
        begun = RunFolder(Path(scenario.out).resolve())
        same = replace(load_scenario(begun.scenario), out=scenario.out) == scenario
    except RinrError:
        return None
    return begun if scenario.out and same and begun.has_rounds() and begun.whole_rounds() < scenario.rounds else None


def _check_machine(scenario: Scenario) -> None:
    """Find out before anything is made what would end the run later: device, cluster and weights."""
    device = pick_device(scenario.device)
    check_device(device, scenario.ray_address)
    if cluster := cluster_of(scenario.ray_address):
        check_reachable(cluster)
    if scenario.weights not in ("factory", "scratch"):
        start_model(scenario, ("object",), device)


def run_equipped(
    scenario: Scenario,
    run: RunFolder,
    folders: list[DeviceFolder],
    progress: Progress,
    stop: StopSignals | None = None,
    *,
    live: str = "",
) -> RunRecord:
    """Run a scenario whose devices have their frames on disk.

    ``live`` serves a page of the run, see :func:`main_job`. A signal that ``stop`` catches ends the run early: the
    record says so and holds what there is.
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
            progress=partial(progress, "starting Ray"),
        ) as engine,
        signals,  # after Ray, which sets handlers of its own
    ):
        turns = math.ceil(scenario.num_clients / engine.plan.parallel)
        return main_job(
            engine.grid,
            scenario,
            run,
            folders,
            progress,
            turns=turns,
            stop=signals,
            encoder=engine.encoder,
            live=live,
        )
