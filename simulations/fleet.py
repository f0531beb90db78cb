"""The simulated devices: what each has on its disk, and which of them a Flower node is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from flwr.app import Context

from rinr_flower.clients import DeviceFolder, EdgeDevice
from rinr_flower.datasets import Share, deal, load
from rinr_flower.devices import pick_device
from rinr_flower.errors import DataError
from rinr_flower.simulations.scenario import Scenario

OPENED_BYTES = 1 << 28
"""Memory of a process in which payloads stay open for the next device that it simulates."""


def shares_of(scenario: Scenario, progress: Callable[[float], None] | None = None) -> list[Share]:
    """The scenario's data, dealt to its devices. DataError if it is not there, not right, or too little."""
    return deal(
        load(scenario.data, seed=scenario.seed, progress=progress),
        scenario.num_clients,
        frames_per_clip=scenario.frames_per_clip,
        holdout=scenario.holdout,
        rounds=scenario.rounds,
        seed=scenario.seed,
    )


def equip(shares: Sequence[Share], devices: Path) -> list[DeviceFolder]:
    """Write every device's folder."""
    folders = []
    for number, share in enumerate(shares):
        captures = [[replace(clip, name=f"{clip.name} {taken}")] for taken, clip in enumerate(share.captures, start=1)]
        folders.append(DeviceFolder.write(devices / f"{number:03d}", share.name, captures, share.held_back))
    return folders


def equipped(devices: Path, count: int) -> list[DeviceFolder]:
    """The folders that :func:`equip` wrote before; none if it did not write all of them."""
    try:
        return [DeviceFolder(devices / f"{number:03d}") for number in range(count)]
    except DataError:
        return []


def simulated_device(context: Context, devices: Path, device: str) -> EdgeDevice:
    """The device that a simulated node plays: folder number ``partition-id``."""
    number = int(context.node_config["partition-id"])
    return EdgeDevice(DeviceFolder(devices / f"{number:03d}"), pick_device(device))
