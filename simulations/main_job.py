"""The main job on the fog's side: equip, start model, strategy, report. The same under every engine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from flwr.app import ConfigRecord
from flwr.serverapp import Grid

from rinr_flower.bandwidth import FOG, Ledger
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients import DeviceFolder, Training
from rinr_flower.devices import pick_device
from rinr_flower.errors import ConfigError
from rinr_flower.messages.identity import FogIdentity
from rinr_flower.messages.records import arrays_of_record, record_of
from rinr_flower.report import FailureRecord, RunRecord
from rinr_flower.report.write import write_report
from rinr_flower.simulations.activity import noted
from rinr_flower.simulations.aggregation import aggregation
from rinr_flower.simulations.live_server import address, served
from rinr_flower.simulations.record import run_record
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.so_far import record_so_far
from rinr_flower.simulations.start_model import start_model
from rinr_flower.simulations.stopping import RunStopped, StopSignals
from rinr_flower.strategies import CompressedFedAvg, EdgeOrFog, FogNode, FogTraining, JpegSharing
from rinr_flower.strategies.encoding import Encoder, local_encoder
from rinr_flower.trackers import Tracking

log = logging.getLogger("flwr.rinr_flower")

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


def main_job(
    grid: Grid | None,
    scenario: Scenario,
    run: RunFolder,
    folders: Sequence[DeviceFolder] | None,
    progress: Progress,
    *,
    identity: FogIdentity | None = None,
    turns: int = 1,
    stop: StopSignals | None = None,
    encoder: Encoder | None = None,
    live: str = "",
) -> RunRecord:
    """Run all rounds over ``grid`` that ``run`` does not hold yet, then write the run's record and report into it.

    Parameters
    ----------
    grid : to the devices; None if all rounds are there.
    folders : the devices' disks, where the fog can read them; None: it knows what they upload.
    identity : the fog's keys; None sends and takes messages unsigned.
    turns : so many devices share what computes for one, and may have to wait for the others; their messages live so
        many times longer.
    stop : signals that end the run early; the record then says so.
    encoder : decodes and encodes uploads; None takes processes of this machine, ``encoders`` of the scenario at a time.
    live : serve a page of the run while it goes on, see ``live_server.address``; empty: none.
    """
    if live:
        with served(run.path, *address(live)) as server:
            log.getChild("notes").info("live: %s", server.url)
            return main_job(
                grid, scenario, run, folders, progress, identity=identity, turns=turns, stop=stop, encoder=encoder
            )
    signals = StopSignals() if stop is None else stop
    progress = noted(run.path, progress)
    device = pick_device(scenario.device)
    class_names = class_names_of(scenario, folders)
    training = Training(
        class_names=class_names,
        detector=scenario.detector,
        image_size=scenario.image_size,
        steps=scenario.steps,
        batch=scenario.batch,
        learning_rate=scenario.learning_rate,
        blur=scenario.blur,
        seed=scenario.seed,
    )
    strategy = build_strategy(scenario, run, signals.watched(progress), identity, encoder)
    done = strategy.recall()
    if strategy.start_model is None:
        arrays = record_of(start_model(scenario, class_names, device, partial(progress, "start model")))
    else:
        arrays = strategy.start_model.arrays
    tracking = Tracking(scenario.log)

    def so_far() -> RunRecord:
        return record_so_far(settings, strategy.memory, strategy.ledger, run.path)

    settings = scenario.to_mapping()
    if scenario.log:  # the record of a long run takes a while to make
        tracking.open(run.path, run.job, settings, so_far())
        run.after_round = lambda: tracking.tell(so_far())
    if grid is not None and done < scenario.rounds:
        (run.path / "run.json").unlink(missing_ok=True)  # of fewer rounds, if the run was stopped before
        try:
            await_devices(grid, scenario.num_clients, scenario.timeout_s, signals)
            strategy.start(
                grid=grid,
                initial_arrays=arrays,
                num_rounds=scenario.rounds,
                timeout=scenario.timeout_s * turns,
                train_config=ConfigRecord(training.to_config()),
                evaluate_config=ConfigRecord(training.to_config()),
            )
        except RunStopped as stopped:
            number = strategy.memory.rounds + 1
            reason = f"{stopped} in round {number} of {scenario.rounds}; a run that is resumed goes on with that round"
            strategy.failures.append(FailureRecord(number, FOG, "stopped", reason))
            log.warning("the run is stopped: %s", reason)
            strategy.ledger.flush()
    begun = arrays if strategy.start_model is None else strategy.start_model.arrays  # what devices hold of it
    record = run_record(scenario, run, folders, strategy, arrays_of_record(begun), training, progress)
    record.save(run.path)
    try:
        files = write_report(record, run.path, progress=partial(progress, "report"))
        tracking.close(record, files)
    except OSError as error:
        log.warning("the report is not whole (%s); 'bandwidth-report %s' writes it again", error, run.path)
    return record


def class_names_of(scenario: Scenario, folders: Sequence[DeviceFolder] | None) -> tuple[str, ...]:
    """From the devices' own frames where the fog can read them, else from the scenario."""
    if folders is not None:
        return Payload.from_bytes(folders[0].held_back()[0].data).class_names
    if not scenario.classes:
        raise ConfigError(
            "scenario key 'classes' is empty; the fog cannot read its devices' disks, so the scenario must name the "
            "classes, in the order of the devices' label files"
        )
    return tuple(scenario.classes)


def build_strategy(
    scenario: Scenario,
    run: RunFolder,
    progress: Progress | None = None,
    identity: FogIdentity | None = None,
    encoder: Encoder | None = None,
) -> FogNode:
    """The strategy that the scenario describes, with its ledger and all that it keeps in the run's folder."""
    options: dict[str, Any] = {
        "inner": aggregation(scenario.aggregation),
        "min_devices": scenario.min_devices,
        "seed": scenario.seed,
        "device": str(pick_device(scenario.device)),
        "encoder": local_encoder(scenario.encoders or None) if encoder is None else encoder,
        "ledger": Ledger.open(run.ledger),
        "keep": run,
        "identity": identity,
        "progress": progress,
    }
    if scenario.strategy == "fog":
        return FogNode(scenario.codec, upload=scenario.upload, **options)
    if scenario.strategy == "compressed_fedavg":
        return CompressedFedAvg(scenario.update_compressor, **options)
    if scenario.strategy in ("fog_training", "auto"):
        del options["inner"]
        if scenario.strategy == "fog_training":
            return FogTraining(scenario.update_compressor, upload=scenario.upload, **options)
        broadcast = scenario.link_model().broadcast
        compressor = scenario.update_compressor
        return EdgeOrFog(scenario.codec, compressor, upload=scenario.upload, broadcast=broadcast, **options)
    return JpegSharing(relay=scenario.strategy == "jpeg_relay", **options)


def await_devices(grid: Grid, count: int, timeout_s: float, stop: StopSignals) -> None:
    """Return as soon as ``count`` nodes are connected, or when the time is up."""
    end = time.monotonic() + timeout_s
    while len(list(grid.get_node_ids())) < count and time.monotonic() < end:
        stop.check()
        time.sleep(0.1)
