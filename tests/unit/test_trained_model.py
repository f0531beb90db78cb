"""Trained detectors as files: what ``rinr model`` writes of a run and of a device, and what it says where it cannot."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg
from small_clips import small_clip
from tiny_detector import Tiny, TinyDetector
from wire import Wire

from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.detection import State, Yolo
from rinr_flower.detection.checkpoint import write_checkpoint
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.state import read_state
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.messages.training import Training
from rinr_flower.report import RunRecord
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import load_scenario
from rinr_flower.simulations.trained_model import TrainedModel, trained_model
from rinr_flower.strategies import FogNode

NAMES = ("cat", "cup")
TRAINING = Training(class_names=("cup",), image_size=64, steps=1, batch=2)


def same(a: Any, b: Any) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def detector() -> Yolo:
    return Yolo(NAMES, seed=3)


def test_ultralytics_opens_a_checkpoint_and_sees_the_same(detector: Yolo, tmp_path: Path) -> None:
    file = tmp_path / "new" / "cup.pt"
    write_checkpoint(file, detector)
    assert [path.name for path in file.parent.iterdir()] == ["cup.pt"]
    opened = ultralytics("models").YOLO(file)
    assert opened.names == dict(enumerate(NAMES))
    pictures = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = opened.model.float().eval()(pictures)[0]
        network = detector.network.eval()
        torch.testing.assert_close(seen, network(pictures)[0], rtol=2e-3, atol=0.05)  # half precision
    again = Yolo(NAMES, seed=4, weights=file).state()
    for name, array in detector.state().items():
        np.testing.assert_allclose(again[name], array, rtol=1e-3, atol=1e-6)


def described(detector: Yolo) -> TrainedModel:
    return TrainedModel(detector.state(), replace(TRAINING, class_names=NAMES).describe())


def test_named_arrays_are_exact_and_weights_again(detector: Yolo, tmp_path: Path) -> None:
    file = tmp_path / "cup.npz"
    described(detector).write(file)
    assert same(read_state(file), detector.state())
    assert same(Yolo(NAMES, seed=4, weights=file).state(), detector.state())


def test_files_that_cannot_be_are_refused(detector: Yolo, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cup\.onnx: give a file that ends in \.pt \(ultralytics\) or \.npz"):
        described(detector).write(tmp_path / "cup.onnx")
    with pytest.raises(ConfigError, match=r"not ultralytics'; give a file that ends in \.npz"):
        write_checkpoint(tmp_path / "cup.pt", TinyDetector(NAMES, 0))
    (tmp_path / "taken").write_text("")
    for name in ("cup.pt", "cup.npz"):
        with pytest.raises(DataError, match="cannot be written"):
            described(detector).write(tmp_path / "taken" / name)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def finished(path: Path, inner: FedAvg | None = None, **options: Any) -> tuple[RunFolder, FogNode]:
    """A run of two rounds with real devices, as ``flower-simulation`` leaves it."""
    folder = RunFolder.create(str(path))
    aggregation = "none" if inner is None else "FedAvg"
    load_scenario(None, {"num_clients": 2, "aggregation": aggregation}).save(folder.scenario)
    apps = {}
    for number in range(2):
        clips = [[small_clip(f"{number} {i}", 10 * number + i)] for i in range(2)]
        rest = [small_clip("rest", number)]
        device = DeviceFolder.write(folder.devices / f"{number:03d}", f"device-{number} (street)", clips, rest)
        apps[10 + number] = client_app(partial(_opened, device), **options)
    strategy = FogNode({"name": "jpeg", "quality": 40}, keep=folder, inner=inner)
    config = ConfigRecord(TRAINING.to_config())
    strategy.start(
        grid=Wire(apps), initial_arrays=ArrayRecord(), num_rounds=2, train_config=config, evaluate_config=config
    )
    assert strategy.failures == []
    return folder, strategy


def _opened(folder: DeviceFolder, context: object) -> EdgeDevice:
    return EdgeDevice(folder)


pytestmark = pytest.mark.usefixtures("task_identity")


def test_each_device_of_a_run_has_its_own_detector(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    states: list[State] = []
    for number in range(2):
        by_number = trained_model(run.path, f"{number:03d}")
        by_name = trained_model(run.path, f"device-{number} (street)")
        by_folder = trained_model(run.devices / f"{number:03d}")
        by_state = trained_model(run.devices / f"{number:03d}" / "state")
        built = by_number.build()
        assert built.class_names == ("cup",)
        states.append(built.state())
        for other in (by_name, by_folder, by_state):
            assert same(states[-1], dict(other.arrays))
    assert not same(*states)
    with pytest.raises(ConfigError, match=r"keep models of their own; choose from --device 00\d \(mAP50-95 0\.\d"):
        trained_model(run.path)
    with pytest.raises(ConfigError, match="holds no device '7'; choose from"):
        trained_model(run.path, "7")


def test_a_model_in_common_is_that_of_the_last_round(tmp_path: Path) -> None:
    run, strategy = finished(tmp_path / "run", FedAvg())
    found = trained_model(run.path)
    assert same(found.build().state(), {name: array.numpy() for name, array in strategy.arrays.items()})
    shutil.rmtree(run.devices)  # of a deployed fog: the scenario names the classes
    load_scenario(run.scenario, {"classes": ["cup"]}).save(run.scenario)
    assert same(trained_model(run.path).arrays, found.arrays)
    with pytest.raises(ConfigError, match="they are other machines: on one of them, give the folder of its state"):
        trained_model(run.path, "000")


def test_where_nothing_has_been_trained_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; give that of a run or of a device's state"):
        trained_model(tmp_path / "typo")
    with pytest.raises(DataError, match="holds no state of a device that has trained"):
        trained_model(tmp_path)
    with pytest.raises(ConfigError, match="is no run's folder, so --device '000'"):
        trained_model(tmp_path, "000")


def test_a_detector_that_no_name_stands_for_is_no_checkpoint(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run", detector=Tiny())
    found = trained_model(run.path, "000")
    with pytest.raises(ConfigError, match=r"no registered name stands for this detector; give .*\.npz"):
        found.write(tmp_path / "tiny.pt")
    found.write(tmp_path / "tiny.npz")
    assert same(read_state(tmp_path / "tiny.npz"), found.arrays)


def test_a_device_may_be_called_as_the_report_calls_it(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    arrays = trained_model(run.path, "001").arrays
    for name in ("1", "01", "device-1", "device-01"):
        assert same(trained_model(run.path, name).arrays, arrays)
    for name in ("device-2", "device-", "street", "-1"):
        with pytest.raises(ConfigError, match=f"no device '{name}'; .*; 000 may also be written 0, device-00 or"):
            trained_model(run.path, name)


def test_devices_of_a_simulation_that_were_deleted_are_no_other_machines(tmp_path: Path) -> None:
    run, _ = finished(tmp_path / "run")
    RunRecord(scenario={"command": "flower-simulation"}).save(run.path)  # only of simulated devices, see run_record
    (run.devices / "001" / "device.json").unlink()
    for _ in range(2):
        with pytest.raises(ConfigError, match="devices is gone or not whole, and with it the detectors; put it back"):
            trained_model(run.path, "000")
        shutil.rmtree(run.devices, ignore_errors=True)
