"""Build the record of a run: what was sent, how good it is, what rivals make of the same captures."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from PIL import Image

from rinr_flower.array_file import Arrays
from rinr_flower.bandwidth import Ledger
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients import DeviceFolder, EdgeDevice, Training
from rinr_flower.codecs import codecs, decode
from rinr_flower.devices import pick_device
from rinr_flower.errors import DataError
from rinr_flower.frames import Clip
from rinr_flower.quality import measure
from rinr_flower.report import (
    AccuracyRecord,
    DeviceRecord,
    ExampleRecord,
    PayloadRecord,
    RivalRecord,
    RunRecord,
    UpdateRecord,
)
from rinr_flower.simulations.fleet import left_out
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario
from rinr_flower.simulations.so_far import accuracy_of
from rinr_flower.strategies import EdgeOrFog, FogNode, Shared
from rinr_flower.strategies.encoding import WorkerEncoder
from rinr_flower.strategies.keeping import Blob

Progress = Callable[[str, float], None]
PACKAGES = ("rinr_flower", "flwr", "ray", "torch", "ultralytics-opencv-headless", "numpy", "pillow", "av")
EXAMPLES = 4


def run_record(
    scenario: Scenario,
    run: RunFolder,
    folders: Sequence[DeviceFolder] | None,
    strategy: FogNode,
    model: Arrays,
    training: Training,
    progress: Progress,
) -> RunRecord:
    """Everything that the report shows.

    Quality is measured against the decoded camera files: those on the devices' disks, or, where ``folders`` is None,
    what was uploaded; the start model's accuracy is then not known.
    """
    device = str(pick_device(scenario.device))
    captured = strategy.shared if strategy.upload is not None else _kept(scenario, folders or ())
    originals: list[Clip] = []  # decoded frames are large: only the clips that rivals are measured on
    payloads: list[PayloadRecord] = []
    examples: list[ExampleRecord] = []
    for done, item in enumerate(captured, start=1):
        start = time.perf_counter()
        original = _original(item, folders or ())
        opened = time.perf_counter()
        decoded = decode(item.payload.data, device=device)
        if scenario.rivals and done <= scenario.rival_clips:
            originals.append(original)
        payloads.append(_payload(item, original, decoded, time.perf_counter() - opened, opened - start))
        if len(examples) < EXAMPLES:
            examples.append(_example(run, len(examples), item, original, decoded))
        progress("quality", done / len(captured))
    described = {key: value for key, value in scenario.to_mapping().items() if key != "out"}
    if folders is not None:
        described["command"] = (
            "flower-simulation --config scenario.yaml --out NEW_FOLDER   # scenario.yaml is in this folder"
        )
    encoders = strategy.encoder.width if isinstance(strategy.encoder, WorkerEncoder) else 1
    return RunRecord(
        scenario=described,
        environment={**environment(device), "encoders": encoders},
        devices=_devices(strategy, captured),
        payloads=tuple(payloads),
        accuracy=(*_before(folders or (), model, training, device, progress), *accuracy_of(strategy.memory)),
        failures=(*left_out(run.devices), *strategy.failures),
        rivals=tuple(_rivals(scenario, captured, originals, progress)),
        examples=tuple(examples),
        updates=_updates(strategy),
        decisions=tuple(strategy.decisions) if isinstance(strategy, EdgeOrFog) else (),
        stored=tuple(strategy.memory.stored),
        ledger=Ledger.read(run.ledger) if run.ledger.exists() else strategy.ledger,
        folder=run.path,
    )


def _kept(scenario: Scenario, folders: Sequence[DeviceFolder]) -> list[Shared]:
    """Captures that no device uploaded, with the bytes that they would have had: what the other ways would send."""
    return [
        Shared(number, folder.name, clip.name, clip.camera_bytes, Blob.of(clip.data), Blob.of(clip.data), 0.0)
        for number in range(1, scenario.rounds + 1)
        for folder in folders
        for clip in folder.captures(number)
    ]


def _updates(strategy: FogNode) -> tuple[UpdateRecord, ...]:
    """The mean size of the updates that were made, under the compressor's name."""
    common = strategy.policy.common
    if common is None or not common.update_bytes:
        return ()
    sizes = common.update_bytes
    return (UpdateRecord(common.compressor.name, round(sum(sizes) / len(sizes))),)


def _original(item: Shared, folders: Sequence[DeviceFolder]) -> Clip:
    """The clip as the camera took it: from the device's disk where it can be read, else what was uploaded."""
    for folder in folders:
        if folder.name == item.device:
            with suppress(DataError, StopIteration):
                return decode(next(c.data for c in folder.captures(item.round) if c.name == item.clip), name=item.clip)
    return decode(item.upload.data, name=item.clip)


def _payload(
    item: Shared, original: Clip, decoded: Clip, decode_seconds: float, camera_decode_seconds: float
) -> PayloadRecord:
    payload = Payload.from_bytes(item.payload.data)
    quality = measure(original, decoded)
    return PayloadRecord(
        round=item.round,
        device=item.device,
        clip=item.clip,
        codec=payload.codec,
        frames=len(payload),
        width=payload.width,
        height=payload.height,
        camera_bytes=item.camera_bytes,
        upload_bytes=item.upload.size,
        payload_bytes=item.payload.size,
        bytes_by_part=payload.bytes_by_part(),
        encode_seconds=item.encode_seconds,
        frame_db=quality.frame_db,
        background_db=quality.background_db,
        object_db=quality.object_db,
        decode_seconds=decode_seconds,
        camera_decode_seconds=camera_decode_seconds,
    )


def _example(run: RunFolder, number: int, item: Shared, original: Clip, decoded: Clip) -> ExampleRecord:
    """The first frame with a box, else the middle one, as the camera took it and as it was decoded."""
    with_box = [i for i, frame in enumerate(original.frames) if len(frame.boxes)]
    index = with_box[0] if with_box else len(original) // 2
    run.examples.mkdir(exist_ok=True)
    names = (f"{number:02d}-original.png", f"{number:02d}-decoded.png")
    for name, clip in zip(names, (original, decoded), strict=True):
        Image.fromarray(clip.frames[index].image).save(run.examples / name)
    box = tuple(float(x) for x in original.frames[index].boxes[0]) if with_box else ()
    return ExampleRecord(item.clip, index, f"examples/{names[0]}", f"examples/{names[1]}", box)


def _devices(strategy: FogNode, captured: Sequence[Shared]) -> tuple[DeviceRecord, ...]:
    held_back = {item.device: int(item.metrics["num-examples"]) for item in strategy.evaluated}
    rows = []
    for name in sorted(strategy.memory.devices):
        own = [item for item in captured if item.device == name]
        rows.append(
            DeviceRecord(
                name,
                tuple(item.clip for item in own),
                sum(item.camera_bytes for item in own),
                sum(len(Payload.from_bytes(item.upload.data)) for item in own),
                held_back.get(name, 0),
            )
        )
    return tuple(rows)


def _before(
    folders: Sequence[DeviceFolder], model: Arrays, training: Training, device: str, progress: Progress
) -> list[AccuracyRecord]:
    """The start model on every device's held-back frames."""
    rows = []
    for done, folder in enumerate(folders, start=1):
        accuracy = EdgeDevice(folder, device).evaluate(folder.held_back(), model, training)
        rows.append(AccuracyRecord(0, folder.name, accuracy.map50, accuracy.map50_95))
        progress("accuracy of the start model", done / len(folders))
    return rows


def _rivals(
    scenario: Scenario, shared: Sequence[Shared], originals: Sequence[Clip], progress: Progress
) -> list[RivalRecord]:
    """Rival codecs over the first ``rival_clips`` clips, of which ``originals`` are the camera's frames."""
    items = shared[: scenario.rival_clips]
    rows = []
    for done, spec in enumerate(scenario.rivals, start=1):
        codec = codecs.create(spec)
        for item, clip in zip(items, originals, strict=True):
            start = time.perf_counter()
            payload = codec.encode(clip, seed=scenario.seed)
            encoded = time.perf_counter()
            decoded = decode(payload)
            done_at = time.perf_counter()
            quality = measure(clip, decoded)
            rows.append(
                RivalRecord(
                    describe(spec),
                    clip.name,
                    item.device,
                    item.round,
                    len(payload),
                    quality.frame_db,
                    quality.background_db,
                    quality.object_db,
                    encode_seconds=encoded - start,
                    decode_seconds=done_at - encoded,
                )
            )
        progress("rival codecs", done / len(scenario.rivals))
    return rows


def describe(spec: str | Mapping[str, Any]) -> str:
    """A codec as one line: ``jpeg quality=20``."""
    if isinstance(spec, str):
        return spec
    return " ".join([str(spec["name"]), *(f"{key}={value}" for key, value in spec.items() if key != "name")])


def environment(device: str) -> dict[str, Any]:
    """Versions of Python and of the packages, platform, cores, and what computed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "device": device,
        **versions,
    }
