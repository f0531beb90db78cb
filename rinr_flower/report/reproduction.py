"""The source's experiments, again, on any data: quality and size of its variants, bytes, accuracy, latency.

Experiments of Residual-INR (arXiv 2408.05617): reconstruction quality and mean frame size of BS, BE, DE, RE and QRE
over Rapid-INR and NeRV; data transmitted and mAP per codec, with the line of training at the fog; decoding and
communication latency. Rivals and this project's codecs stand beside them. Every result is written down as soon as it is
known, so a run that was stopped goes on where it was. Detectors are imported only when experiments are run.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.codecs.presets import Encoded, encode_variants
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import ConfigError
from rinr_flower.files import append_lines, write_file, write_text
from rinr_flower.frames import Clip
from rinr_flower.quality import measure
from rinr_flower.report.experiment import BACKGROUNDS, Experiment
from rinr_flower.report.record import to_json

if TYPE_CHECKING:
    from rinr_flower.detection import State

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction of all measurements that are done, 0 to 1."""

SOURCE_DETECTOR = "yolov8m"
"""The source's YOLOv8 scale: its size is the line of training at the fog."""


class Journal:
    """Results in order of their measurement, one JSON object a line; a half line (a stopped run) is left out.

    ``settings.json`` beside it says what they belong to: a folder of other settings is refused. It is written with the
    first result.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._settings = json.dumps(to_json(experiment), indent=1)
        self._settings_path = folder / "settings.json"
        if self._settings_path.exists() and self._settings_path.read_text(encoding="utf-8") != self._settings:
            raise ConfigError(f"{folder} holds results of other settings (settings.json); choose another --out")
        self._path = folder / "results.jsonl"
        self.results: dict[tuple[str, ...], dict[str, Any]] = {}
        lines = self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []
        for line in lines:
            try:
                item = json.loads(line)
                self.results[tuple(item["key"])] = item["value"]
            except (ValueError, KeyError, TypeError):
                continue

    @staticmethod
    def _line(key: tuple[str, ...], value: dict[str, Any]) -> str:
        return json.dumps({"key": key, "value": to_json(value)}, allow_nan=False) + "\n"

    def get(self, key: tuple[str, ...], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The value of ``key``: as written down, else computed now and written down."""
        if key not in self.results:
            self.results[key] = json.loads(self._line(key, compute()))["value"]
            if not self._settings_path.exists():
                write_text(self._settings_path, self._settings)
            append_lines(self._path, self._line(key, self.results[key]).encode())
        return self.results[key]


def reproduce(experiment: Experiment, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run what is not in ``folder`` yet.

    Returns all results: ``experiment``, ``deviations``, ``clips`` (one measurement a row and clip), ``accuracy`` (one a
    row and seed), ``updates``, ``detector_bytes`` (of a whole YOLOv8m), ``cpu_seconds`` (of everything measured).
    Raises ConfigError if the folder belongs to other settings or the detector is not known, DataError on bad data.
    """
    from rinr_flower.detection import Yolo

    journal = Journal(folder, experiment)
    shared, held_back = experiment.clips_of_data()
    Yolo(_names(shared), model=experiment.detector)  # a mistyped name ends it here, not after hours of encoding
    others, trained = experiment.others(), experiment.trained()
    encodings = (len(BACKGROUNDS) + len(others)) * len(shared)
    total, done = encodings + len(trained) * len(experiment.seeds) + len(experiment.updates) + 1, 0

    def tell(what: str) -> None:
        nonlocal done
        progress(what, done / total)
        done += 1

    by_row: dict[str, list[dict[str, Any]]] = {row: [] for row in experiment.rows()}
    seed = experiment.seeds[0]
    for number, clip in enumerate(shared):
        for background in BACKGROUNDS:
            tell(f"{background}, {clip.name}")
            variants = experiment.variants(background)
            files = {row: payload_file(folder, row, number) for row in variants}
            encode = partial(encode_variants, variants, clip, seed=seed)
            for row, value in _measured(journal, clip, number, files, encode).items():
                by_row[row].append(value)
        for row, codec in others.items():
            tell(f"{row}, {clip.name}")
            files = {row: payload_file(folder, row, number)}
            encode = partial(_encode_one, row, codec, clip, seed)
            by_row[row] += _measured(journal, clip, number, files, encode).values()
    tell("start model")
    start = _start(experiment, shared, folder / "start.npz")
    accuracy = []
    for s in experiment.seeds:
        for row in trained:
            encoded = [payload_file(folder, row, number) for number in range(len(shared))]
            tell(f"mAP on {row}, seed {s}")
            train = partial(_train, experiment, start, encoded, held_back, _trained_file(folder, row, s), s)
            accuracy.append({"row": row, "seed": s, **journal.get(("accuracy", row, str(s)), train)})
    updates = []
    for name in experiment.updates:
        tell(f"update {name}")
        pack = partial(_update, name, experiment, start, _trained_file(folder, "JPEG", seed), held_back)
        updates.append({"name": name, **journal.get(("update", name), pack)})
    size = journal.get(("detector",), partial(_detector_size, shared))
    progress("done", 1.0)
    measured = [{"row": row, **value} for row, values in by_row.items() for value in values]
    return {
        "experiment": to_json(experiment),
        "deviations": to_json(experiment.deviations()),
        "clips": measured,
        "accuracy": accuracy,
        "updates": updates,
        "detector_bytes": size["bytes"],
        "cpu_seconds": _cpu_seconds(measured, accuracy),
    }


def payload_file(folder: Path, row: str, number: int) -> Path:
    """Where a row's payload of one clip is kept."""
    return folder / "payloads" / f"{_file_name(row)}-{number}.rinr"


def _trained_file(folder: Path, row: str, seed: int) -> Path:
    return folder / "trained" / f"{_file_name(row)}-{seed}.npz"


def _file_name(row: str) -> str:
    return row.replace(" ", "_").replace("(", "").replace(")", "")


def _measured(
    journal: Journal,
    clip: Clip,
    number: int,
    files: dict[str, Path],
    encode: Callable[[], dict[str, Encoded]],
) -> dict[str, dict[str, Any]]:
    """What every row's payload of a clip measures; encoded only if one of them is not written down with its file."""
    keys = {row: ("clip", row, str(number)) for row in files}
    if not all(keys[row] in journal.results and file.exists() for row, file in files.items()):
        for row, encoded in encode().items():
            journal.results.pop(keys[row], None)
            write_file(files[row], encoded.data)
            journal.get(keys[row], partial(_measure, clip, encoded))
    return {row: journal.results[key] for row, key in keys.items()}


def _encode_one(row: str, codec: Codec, clip: Clip, seed: int) -> dict[str, Encoded]:
    start = time.process_time()
    data = codec.encode(clip, seed=seed)
    return {row: Encoded(data, time.process_time() - start)}


def _measure(clip: Clip, encoded: Encoded) -> dict[str, Any]:
    start = time.process_time()
    store = FrameStore([encoded.data])
    store.render(range(len(store)), (clip.height, clip.width))
    rendered = time.process_time()
    return {
        "clip": clip.name,
        "frames": len(clip),
        "width": clip.width,
        "height": clip.height,
        "camera_bytes": clip.file_bytes(),
        "payload_bytes": len(encoded.data),
        "encode_cpu_seconds": encoded.cpu_seconds,
        "decode_cpu_seconds": rendered - start,
        **dataclasses.asdict(measure(clip, decode(encoded.data))),
    }


def _names(clips: Sequence[Clip]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for clip in clips for name in clip.class_names))


def _start(experiment: Experiment, clips: Sequence[Clip], file: Path) -> State:
    """The factory model fitted to the classes of ``clips``, kept in ``file``."""
    from rinr_flower.detection import Factory, Yolo, factory_state
    from rinr_flower.detection.state import read_state, write_state

    if not file.exists():
        factory = Factory(detector=experiment.detector, steps=experiment.factory_steps, size=experiment.image_size)
        detector = Yolo(
            _names(clips), model=experiment.detector, weights=factory_state(factory), seed=experiment.seeds[0]
        )
        write_state(file, detector.state())
    return read_state(file)


def _held_back_store(held_back: Sequence[Clip]) -> FrameStore:
    return FrameStore(codecs.create("jpeg").encode(clip) for clip in held_back)


def _train(
    experiment: Experiment,
    start: State,
    files: Sequence[Path],
    held_back: Sequence[Clip],
    kept: Path,
    seed: int,
) -> dict[str, Any]:
    """Fine-tune on the payloads, evaluate on the camera's later frames; the trained weights are kept in ``kept``."""
    from rinr_flower.detection import Yolo
    from rinr_flower.detection.state import write_state

    detector = Yolo(_names(held_back), model=experiment.detector, weights=start, seed=seed)
    store = FrameStore(file.read_bytes() for file in files)
    begin = time.process_time()
    detector.fit(store, range(len(store)), steps=experiment.train_steps, size=experiment.image_size, seed=seed)
    seconds = time.process_time() - begin
    test = _held_back_store(held_back)
    result = detector.evaluate(test, range(len(test)), size=experiment.image_size)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_state(kept, detector.state())
    return {"map50": result.map50, "map50_95": result.map50_95, "train_cpu_seconds": seconds}


def _update(
    name: str, experiment: Experiment, start: State, trained_file: Path, held_back: Sequence[Clip]
) -> dict[str, Any]:
    """Size of the update of the model that the fog trained on the JPEG files, and mAP of what arrives."""
    import torch

    from rinr_flower.detection import Yolo
    from rinr_flower.detection.state import read_state
    from rinr_flower.updates import apply_update, updates

    base, trained = (
        {key: torch.from_numpy(value) for key, value in state.items()} for state in (start, read_state(trained_file))
    )
    seed = experiment.seeds[0]
    data = updates.create(name).compress(base, trained, seed=seed)
    arrived = {key: value.numpy() for key, value in apply_update(base, data).items()}
    detector = Yolo(_names(held_back), model=experiment.detector, weights=arrived, seed=seed)
    test = _held_back_store(held_back)
    result = detector.evaluate(test, range(len(test)), size=experiment.image_size)
    return {"bytes": len(data), "map50": result.map50, "map50_95": result.map50_95}


def _detector_size(clips: Sequence[Clip]) -> dict[str, Any]:
    """Bytes of the source's detector, sent whole in float32."""
    from rinr_flower.detection import Yolo

    state = Yolo(_names(clips), model=SOURCE_DETECTOR).state()
    return {"bytes": sum(array.nbytes for array in state.values())}


def _cpu_seconds(measured: Sequence[dict[str, Any]], accuracy: Sequence[dict[str, Any]]) -> float:
    """Processor time of encoding, decoding and training; variants that share a background count it once each."""
    spent = sum(r["encode_cpu_seconds"] + r["decode_cpu_seconds"] for r in measured)
    return float(spent + sum(r["train_cpu_seconds"] for r in accuracy))
