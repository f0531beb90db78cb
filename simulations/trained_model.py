"""The detector that a run or one of its devices has trained."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rinr_flower.array_file import Arrays
from rinr_flower.clients.client_app import MODEL
from rinr_flower.clients.device_folder import DeviceFolder
from rinr_flower.clients.device_state import DeviceState, Held
from rinr_flower.detection import Detector, architecture
from rinr_flower.detection.checkpoint import write_checkpoint
from rinr_flower.detection.state import write_state
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.messages.training import Training
from rinr_flower.report import RunRecord
from rinr_flower.simulations.fleet import equipped
from rinr_flower.simulations.main_job import class_names_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import load_scenario


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A model and what it is.

    Attributes
    ----------
    arrays : weights by name.
    detector : ``class_names`` and ``architecture``, see :meth:`Training.describe`.
    """

    arrays: Arrays
    detector: dict[str, Any]

    def write(self, path: Path) -> None:
        """Write a ``.pt`` that ultralytics opens, in half precision, or an ``.npz`` of the arrays as they are.

        ``weights`` of a scenario takes both. ConfigError if ``path`` ends otherwise, or in ``.pt`` where the detector
        is not ultralytics' or not known; DataError if it cannot be written.
        """
        if path.suffix == ".npz":
            write_state(path, {name: np.asarray(array, np.float32) for name, array in self.arrays.items()})
        elif path.suffix == ".pt":
            write_checkpoint(path, self.build())
        else:
            raise ConfigError(f"{path}: give a file that ends in .pt (ultralytics) or .npz (named arrays)")

    def build(self) -> Detector:
        """The detector; ConfigError if its architecture is not known here, DataError if the weights are not its own."""
        if "architecture" not in self.detector:
            raise ConfigError("no registered name stands for this detector; give a file that ends in .npz")
        detector = architecture(self.detector["architecture"]).build(self.detector["class_names"])
        detector.load_state(self.arrays)
        return detector


def trained_model(source: Path, device: str = "") -> TrainedModel:
    """The model of a run's or a device's folder, after its last whole round or message.

    Parameters
    ----------
    source : the folder of a run, of a simulated device, or of a device's state.
    device : name of a device of the run, its number, or ``device-NUMBER``; empty: the model in common.

    Raises
    ------
    ConfigError
        If the run has no device of that name, or no model in common.
    DataError
        If nothing has been trained there, or it cannot be read.
    """
    if (source / "scenario.yaml").is_file():
        return _of_run(source, device)
    if device:
        raise ConfigError(f"{source} is no run's folder, so --device {device!r} has no meaning there")
    if not source.is_dir():
        raise DataError(f"{source}: no such folder; give that of a run or of a device's state")
    return _of_device(source / "state" if (source / "device.json").is_file() else source)


def _of_run(path: Path, device: str) -> TrainedModel:
    run, scenario = RunFolder(path), load_scenario(path / "scenario.yaml")
    folders = equipped(run.devices, scenario.num_clients)
    if device:
        number = re.fullmatch(r"(?:device-)?(\d+)", device)  # as are the names of folders, and what reports call them
        for at, folder in enumerate(folders):
            if device == folder.name or (number and int(number[1]) == at):
                return _of_device(folder.path / "state", run.job)
        raise ConfigError(f"{path} holds no device {device!r}; {_choice(run, folders)}")
    if not (arrays := run.common_model()):
        raise ConfigError(f"the devices of {path} keep models of their own; {_choice(run, folders)}")
    training = Training(class_names=class_names_of(scenario, folders or None), detector=scenario.detector)
    return TrainedModel(arrays, training.describe())


def _of_device(state: Path, job: str = "") -> TrainedModel:
    held: Held = DeviceState(state).latest(job)
    if MODEL not in held.arrays or not held.detector:
        raise DataError(f"{state} holds no model that the device has trained itself")
    return TrainedModel(held.arrays[MODEL], dict(held.detector))


def _choice(run: RunFolder, devices: list[DeviceFolder]) -> str:
    """The devices to choose from, the most accurate first."""
    record = RunRecord.load(run.path)
    if not devices and (run.devices.exists() or "command" in record.scenario):  # it was simulated
        return f"{run.devices} is gone or not whole, and with it the detectors; put it back, or begin a new run"
    if not devices:
        return "they are other machines: on one of them, give the folder of its state"
    accuracy = {row.device: row.map50_95 for row in record.accuracy}  # of the last round
    best = sorted(devices, key=lambda device: -accuracy.get(device.name, 0.0))
    named = (f"--device {device.path.name} (mAP50-95 {accuracy.get(device.name, math.nan):.3f})" for device in best)
    return f"choose from {', '.join(named)}; 000 may also be written 0, device-00 or as the whole name"
