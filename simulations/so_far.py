"""The record of a run that is not finished: what is known after its last whole round."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rinr_flower.bandwidth import FOG, Ledger
from rinr_flower.errors import DataError
from rinr_flower.files import read_record
from rinr_flower.report import AccuracyRecord, DeviceRecord, PayloadRecord, RunRecord
from rinr_flower.report.kept_rounds import accuracy_row
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies.memory import FogMemory


@dataclass(frozen=True, eq=False)
class SoFar:
    """A run's record, whole or not, and what each device still misses.

    Attributes
    ----------
    record : PSNR and rivals are measured at the end of a run only.
    rounds : whole rounds.
    missing : clips of others that a device has not received yet, by its name.
    finished : the run has its report.
    """

    record: RunRecord
    rounds: int
    missing: Mapping[str, int]
    finished: bool


def record_so_far(
    settings: Mapping[str, Any], memory: FogMemory, ledger: Ledger, folder: Path | None = None
) -> RunRecord:
    """The record of what a fog node knows now. ``settings`` are the scenario's keys."""
    codec = settings.get("codec", "")
    name = str(codec.get("name")) if isinstance(codec, Mapping) else str(codec)
    payloads = tuple(
        PayloadRecord(
            round=item.round,
            device=item.device,
            clip=item.clip,
            codec=name,
            frames=0,
            width=0,
            height=0,
            camera_bytes=item.camera_bytes,
            upload_bytes=item.upload.size,
            payload_bytes=item.payload.size,
            encode_seconds=item.encode_seconds,
        )
        for item in memory.shared
    )
    devices = tuple(
        DeviceRecord(
            device,
            tuple(p.clip for p in payloads if p.device == device),
            sum(p.camera_bytes for p in payloads if p.device == device),
        )
        for device in sorted({*memory.devices, *(e.source for e in ledger), *(e.destination for e in ledger)} - {FOG})
    )
    return RunRecord(
        scenario=settings,
        devices=devices,
        payloads=payloads,
        accuracy=tuple(accuracy_of(memory)),
        failures=tuple(memory.failures),
        ledger=ledger,
        folder=folder,
    )


def accuracy_of(memory: FogMemory) -> list[AccuracyRecord]:
    """Accuracy rows of all rounds: what each device measured, and what its training in that round took."""
    trained = {(item.round, item.device): item.metrics for item in memory.trained}
    rows = []
    for item in memory.evaluated:
        training = trained.get((item.round, item.device), {})
        rows.append(AccuracyRecord(**accuracy_row(item.round, item.device, item.metrics, training)))
    return rows


def read_so_far(path: Path) -> SoFar:
    """A run as its folder tells it; nothing in the folder is changed. DataError if it is no run's folder."""
    run = RunFolder(path)
    states: list[Mapping[str, Any]] = []
    with suppress(DataError):  # the round that is going on
        while True:
            states.append(read_record(path / "rounds" / f"{len(states):03d}.json"))
    memory = FogMemory()
    memory.restore(states, run)
    missing = {device: len(memory.missing(device)) for device in memory.devices}
    if (path / "run.json").is_file():
        return SoFar(RunRecord.load(path), memory.rounds, missing, finished=True)
    ledger = Ledger()
    with suppress(DataError):  # nothing was sent yet
        ledger = Ledger.read(run.ledger)
    settings: Any = {}
    with suppress(OSError, yaml.YAMLError):
        settings = yaml.safe_load(run.scenario.read_text(encoding="utf-8"))
    record = record_so_far(settings if isinstance(settings, Mapping) else {}, memory, ledger, path)
    return SoFar(record, memory.rounds, missing, finished=False)
