"""The main job on the fog's side: equip, start model, strategy, report. The same under every engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from rinr_flower.bandwidth import Ledger, RunRecord
from rinr_flower.bandwidth.report import write_report
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients import DeviceFolder, Training
from rinr_flower.devices import pick_device
from rinr_flower.simulations.aggregation import aggregation
from rinr_flower.simulations.record import run_record
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.start_model import start_model
from rinr_flower.simulations.watched_grid import WatchedGrid
from rinr_flower.strategies import CompressedFedAvg, EdgeOrFog, FogNode, FogTraining, JpegSharing

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


def main_job(
    grid: Grid, scenario: Scenario, run: RunFolder, folders: list[DeviceFolder], progress: Progress
) -> RunRecord:
    """Run all rounds over ``grid``, then write the run's record and report into its folder."""
    device = pick_device(scenario.device)
    class_names = Payload.from_bytes(folders[0].held_back().data).class_names
    training = Training(
        class_names,
        scenario.scale,
        scenario.image_size,
        scenario.steps,
        scenario.batch,
        scenario.learning_rate,
        scenario.seed,
    )
    model = start_model(scenario, class_names, device, partial(progress, "start model"))
    strategy = build_strategy(scenario, run, progress)
    await_devices(grid, scenario.num_clients, scenario.timeout_s)
    strategy.start(
        grid=WatchedGrid(grid, progress),
        initial_arrays=ArrayRecord({name: Array(array) for name, array in model.items()}),
        num_rounds=scenario.rounds,
        timeout=scenario.timeout_s,
        train_config=ConfigRecord(training.to_config()),
        evaluate_config=ConfigRecord(training.to_config()),
    )
    record = run_record(scenario, run, folders, strategy, model, training, progress)
    record.save(run.path)
    write_report(record, run.path, progress=partial(progress, "report"))
    return record


def build_strategy(scenario: Scenario, run: RunFolder, progress: Progress | None = None) -> FogNode:
    """The strategy that the scenario describes, with its ledger in the run's folder."""
    options: dict[str, Any] = {
        "inner": aggregation(scenario.aggregation),
        "min_devices": scenario.min_devices,
        "seed": scenario.seed,
        "device": str(pick_device(scenario.device)),
        "ledger": Ledger(run.ledger),
        "progress": progress,
    }
    if scenario.strategy == "fog":
        return FogNode(scenario.codec, upload=scenario.upload, **options)
    if scenario.strategy == "compressed_fedavg":
        return CompressedFedAvg(scenario.compressor, **options)
    if scenario.strategy in ("fog_training", "auto"):
        del options["inner"]
        if scenario.strategy == "fog_training":
            return FogTraining(scenario.compressor, upload=scenario.upload, **options)
        broadcast = scenario.link_model().broadcast
        return EdgeOrFog(scenario.codec, scenario.compressor, upload=scenario.upload, broadcast=broadcast, **options)
    return JpegSharing(relay=scenario.strategy == "jpeg_relay", **options)


def await_devices(grid: Grid, count: int, timeout_s: float) -> None:
    """Return as soon as ``count`` nodes are connected, or when the time is up."""
    end = time.monotonic() + timeout_s
    while len(list(grid.get_node_ids())) < count and time.monotonic() < end:
        time.sleep(0.1)
