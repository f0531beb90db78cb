"""The simulated devices: what each has on its disk, and which of them a Flower node is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import Context
from rinr_flower.clients import DeviceFolder, EdgeDevice
from rinr_flower.simulations.scenario import Scenario

from rinr_flower.datasets import deal, load
from rinr_flower.devices import pick_device


def equip(scenario: Scenario, devices: Path, progress: Callable[[float], None] | None = None) -> list[DeviceFolder]:
    """Deal the scenario's data to its devices and write every device's folder."""
    clips = load(scenario.data, seed=scenario.seed, progress=progress)
    shares = deal(
        clips,
        scenario.num_clients,
        frames_per_clip=scenario.frames_per_clip,
        holdout=scenario.holdout,
        rounds=scenario.rounds,
        seed=scenario.seed,
    )
    folders = []
    for number, share in enumerate(shares):
        captures = [[replace(clip, name=f"{clip.name} {taken}")] for taken, clip in enumerate(share.captures, start=1)]
        folders.append(DeviceFolder.write(devices / f"{number:03d}", share.name, captures, share.held_back))
    return folders


def simulated_device(context: Context, devices: Path, device: str) -> EdgeDevice:
    """The device that a simulated node plays: folder number ``partition-id``."""
    number = int(context.node_config["partition-id"])
    return EdgeDevice(DeviceFolder(devices / f"{number:03d}"), pick_device(device))
