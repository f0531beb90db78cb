"""The simulated devices: what each has on its disk, and which of them a Flower node is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from flwr.app import Context

from rinr_flower.bandwidth import FOG
from rinr_flower.clients import DeviceFolder, EdgeDevice
from rinr_flower.datasets import Broken, Share, deal, sources
from rinr_flower.devices import pick_device
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import read_record, write_record
from rinr_flower.names import as_name
from rinr_flower.registry import check_known
from rinr_flower.report import FailureRecord
from rinr_flower.report.record import deployed_resume
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario

OPENED_BYTES = 1 << 28
"""Memory of a process in which payloads stay open for the next device that it simulates."""


DATA_SET = "data set"  # what a report calls it among the devices
WRITING = "writing the devices' frames"
LISTED = 20
LEFT_OUT = "left-out.json"
"""File beside the devices' folders: why each broken file of the data set is in none of them."""


def shares_of(
    scenario: Scenario, progress: Callable[[float], None] | None = None, broken: Broken | None = None
) -> list[Share]:
    """The scenario's data, dealt to its devices. DataError if it is not there, not right, or too little; ConfigError if
    the link names a device that there is not.

    ``broken`` gathers what cannot be read; the scenario says whether that is an error.
    """
    gathered = Broken(scenario.skip_broken) if broken is None else broken
    shares = deal(
        sources(scenario.data, seed=scenario.seed, broken=gathered),
        scenario.num_clients,
        frames_per_clip=scenario.frames_per_clip,
        holdout=scenario.holdout,
        rounds=scenario.rounds,
        how=scenario.deal,
        seed=scenario.seed,
        broken=gathered,
        progress=progress,
    )
    nodes = [FOG, *(share.name for share in shares)]
    check_known(scenario.link_model().node_rates, nodes, "scenario key 'link.node_rates'", "node")
    return shares


def equip(
    shares: Sequence[Share],
    devices: Path,
    left_out: Sequence[str] = (),
    progress: Callable[[float], None] = lambda done: None,
) -> list[DeviceFolder]:
    """Write every device's folder, and why files of the data set are in none of them."""
    folders = []
    progress(0.0)
    for number, share in enumerate(shares):
        captures = [
            [replace(clip, name=as_name(f"{clip.name} {taken}")) for clip in part]
            for taken, part in enumerate(share.captures, start=1)
        ]
        folders.append(DeviceFolder.write(devices / f"{number:03d}", share.name, captures, share.held_back))
        progress((number + 1) / len(shares))
    write_record(devices / LEFT_OUT, list(left_out))
    return folders


def left_out(devices: Path) -> list[FailureRecord]:
    """Rows for the report: why files of the data set are in no device's folder, the first of them one by one."""
    try:
        reasons = read_record(devices / LEFT_OUT)
    except DataError:  # devices that were equipped by something else
        return []
    rows = [FailureRecord(0, DATA_SET, "left out", reason) for reason in reasons[:LISTED]]
    if len(reasons) > LISTED:
        rest = f"{len(reasons) - LISTED} more of {len(reasons)} errors; all are in {devices.name}/{LEFT_OUT}"
        rows.append(FailureRecord(0, DATA_SET, "left out", rest))
    return rows


def equipped(devices: Path, count: int) -> list[DeviceFolder]:
    """The folders that :func:`equip` wrote before; none if it did not write all of them."""
    try:
        return [DeviceFolder(devices / f"{number:03d}") for number in range(count)]
    except DataError:
        return []


def equipped_in(
    run: RunFolder, scenario: Scenario, progress: Callable[[str, float], None] = lambda what, done: None
) -> list[DeviceFolder]:
    """The devices' folders in a run's, written first if the run ended before they were.

    ConfigError if the run has begun without them: its devices were real ones.
    """
    if folders := equipped(run.devices, scenario.num_clients):
        return folders
    if run.has_rounds() or run.ledger.exists():
        raise ConfigError(
            f"{run.path} holds a run without simulated devices: real devices took part in it; go on with it by: "
            f"{deployed_resume(run.path)} (docs/deployment.md); if its devices/ was deleted, begin a new run in a new "
            "folder"
        )
    broken = Broken(scenario.skip_broken)
    shares = shares_of(scenario, partial(progress, "data"), broken)
    return equip(shares, run.devices, broken.reasons, partial(progress, WRITING))


def simulated_device(context: Context, devices: Path, device: str) -> EdgeDevice:
    """The device that a simulated node plays: folder number ``partition-id``."""
    number = int(context.node_config["partition-id"])
    return EdgeDevice(DeviceFolder(devices / f"{number:03d}"), pick_device(device))
