"""The source's experiments, again, on any data: quality and size of its variants, bytes, accuracy, latency.

Experiments of Residual-INR (arXiv 2408.05617): reconstruction quality and mean frame size of BS, BE, DE, RE and QRE
over Rapid-INR and NeRV; data transmitted and mAP per codec, with the line of training at the fog; decoding and
communication latency. Rivals and this project's codecs stand beside them. Every result is written down as soon as it is
known, so a run that was stopped goes on where it was. Detectors and update compressors are imported when their turn
comes.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.codecs.presets import VARIANTS, paper_variant
from rinr_flower.datasets import load
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import append_lines, write_file, write_text
from rinr_flower.frames import Clip
from rinr_flower.quality import measure
from rinr_flower.report.record import to_json

if TYPE_CHECKING:
    from rinr_flower.detection import State

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction of all measurements that are done, 0 to 1."""

RIVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("jpeg", {}),
    "JPEG q20": ("jpeg", {"quality": 20}),
    "AVIF q30": ("avif", {}),
    "ROI-JPEG": ("roi_jpeg", {}),
    "ROI-AVIF": ("roi_avif", {}),
    "AV1": ("av1", {}),
    "ROI-AV1": ("roi_av1", {}),
    "H.264": ("x264", {}),
    "scene": ("scene", {}),
}
NEEDS_VIDEO = frozenset({"av1", "roi_av1", "x264", "roi_x264"})


@dataclass(frozen=True)
class Experiment:
    """What is repeated, and at which size.

    Attributes
    ----------
    data : data set specification, see :func:`rinr_flower.datasets.load`.
    clips : at most so many of its clips.
    frames, held_back : frames of a clip that are shared, and frames after them that mAP is measured on.
    steps : fitting steps of the paper's variants (10,000 a frame in the source).
    train_steps, image_size, factory_steps : of the YOLOv8n that is fine-tuned on what was decoded.
    devices : devices in the communication figures, all-to-all.
    updates : update compressors for training at the fog.
    seed : of fitting and training.
    """

    data: str = "sample"
    clips: int = 4
    frames: int = 8
    held_back: int = 4
    steps: int = 1_500
    train_steps: int = 60
    image_size: int = 160
    factory_steps: int = 150
    devices: int = 10
    updates: tuple[str, ...] = ("full", "quantised", "stc", "svd")
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("clips", "frames", "held_back", "steps", "train_steps", "factory_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.devices < 2:
            raise ConfigError(f"devices is {self.devices}; it must be at least 2")

    def rows(self) -> dict[str, Codec]:
        """Every codec that is measured, by the name of its row."""
        made: dict[str, Codec] = {}
        for background, short in (("rapid_inr", "Rapid-INR"), ("nerv", "NeRV")):
            for variant in VARIANTS:
                made[f"{short} {variant}"] = paper_variant(background, variant, steps=self.steps)
        for label, (name, options) in RIVALS.items():
            if name not in NEEDS_VIDEO or _has_video():
                made[label] = codecs.create(name, **options)
        return made


class Journal:
    """Results in order of their measurement, one JSON object a line; a half line (a stopped run) is left out.

    ``settings.json`` beside it says what they belong to: a folder of other settings is refused.
    """

    def __init__(self, folder: Path, experiment: Experiment) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        settings = json.dumps(to_json(experiment), indent=1)
        path = folder / "settings.json"
        if path.exists() and path.read_text(encoding="utf-8") != settings:
            raise ConfigError(f"{folder} holds results of other settings ({path.name}); choose another --out")
        write_text(path, settings)
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
            append_lines(self._path, self._line(key, self.results[key]).encode())
        return self.results[key]


def reproduce(experiment: Experiment, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run what is not in ``folder`` yet; returns all results: ``experiment``, ``clips``, ``accuracy``, ``updates``.

    Raises ConfigError if the folder belongs to other settings, DataError on bad data.
    """
    journal = Journal(folder, experiment)
    rows = experiment.rows()
    shared, held_back = _split(experiment)
    total = len(rows) * (len(shared) + 1) + len(experiment.updates) + 1
    done = 0

    def tell(what: str) -> None:
        nonlocal done
        progress(what, done / total)
        done += 1

    measured = []
    for label, codec in rows.items():
        for number, clip in enumerate(shared):
            tell(f"{label}, {clip.name}")
            file = payload_file(folder, label, number)
            if not file.exists():
                journal.results.pop(("clip", label, str(number)), None)
            encode = partial(_encode, codec, clip, file, experiment.seed)
            measured.append({"row": label, **journal.get(("clip", label, str(number)), encode)})
    tell("start model")
    start = _start(experiment, shared, folder / "start.npz")
    accuracy = []
    for label in rows:
        tell(f"mAP on {label}")
        files = [payload_file(folder, label, number) for number in range(len(shared))]
        train = partial(_train, experiment, start, files, held_back, _trained_file(folder, label))
        accuracy.append({"row": label, **journal.get(("accuracy", label), train)})
    updates = []
    for name in experiment.updates:
        tell(f"update {name}")
        pack = partial(
            _update, name, start, _trained_file(folder, "JPEG"), experiment.seed, experiment.image_size, held_back
        )
        updates.append({"name": name, **journal.get(("update", name), pack)})
    progress("done", 1.0)
    return {"experiment": to_json(experiment), "clips": measured, "accuracy": accuracy, "updates": updates}


def payload_file(folder: Path, label: str, number: int) -> Path:
    """Where a row's payload of one clip is kept."""
    return folder / "payloads" / f"{label.replace(' ', '_')}-{number}.rinr"


def _trained_file(folder: Path, label: str) -> Path:
    return folder / "trained" / f"{label.replace(' ', '_')}.npz"


def _has_video() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _split(experiment: Experiment) -> tuple[list[Clip], list[Clip]]:
    """Frames that are shared and the frames after them, of every clip that is long enough."""
    whole = load(experiment.data, frames=slice(0, experiment.frames + experiment.held_back), seed=experiment.seed)
    enough = [c for c in whole if len(c) >= experiment.frames + 1][: experiment.clips]
    if not enough:
        longest = max(map(len, whole))
        raise DataError(f"{experiment.data}: no clip has {experiment.frames + 1} frames (the longest has {longest})")
    return [c[: experiment.frames] for c in enough], [c[experiment.frames :] for c in enough]


def _encode(codec: Codec, clip: Clip, file: Path, seed: int) -> dict[str, Any]:
    start = time.process_time()
    data = codec.encode(clip, seed=seed)
    encoded = time.process_time()
    store = FrameStore([data])
    store.render(range(len(store)), (clip.height, clip.width))
    rendered = time.process_time()
    quality = measure(clip, decode(data))
    write_file(file, data)
    return {
        "clip": clip.name,
        "frames": len(clip),
        "width": clip.width,
        "height": clip.height,
        "camera_bytes": clip.file_bytes(),
        "payload_bytes": len(data),
        "encode_cpu_seconds": encoded - start,
        "decode_cpu_seconds": rendered - encoded,
        **dataclasses.asdict(quality),
    }


def _names(clips: Sequence[Clip]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for clip in clips for name in clip.class_names))


def _start(experiment: Experiment, clips: Sequence[Clip], file: Path) -> State:
    """The factory model fitted to the classes of ``clips``, kept in ``file``."""
    from rinr_flower.detection import Factory, YoloV8, factory_state
    from rinr_flower.detection.state import read_state, write_state

    if not file.exists():
        factory = Factory(steps=experiment.factory_steps, size=experiment.image_size)
        write_state(file, YoloV8(_names(clips), weights=factory_state(factory), seed=experiment.seed).state())
    return read_state(file)


def _held_back_store(held_back: Sequence[Clip]) -> FrameStore:
    return FrameStore(codecs.create("jpeg").encode(clip) for clip in held_back)


def _train(
    experiment: Experiment, start: State, files: Sequence[Path], held_back: Sequence[Clip], kept: Path
) -> dict[str, Any]:
    """Fine-tune on the payloads, evaluate on the camera's later frames; the trained weights are kept in ``kept``."""
    from rinr_flower.detection import YoloV8
    from rinr_flower.detection.state import write_state

    detector = YoloV8(_names(held_back), weights=start, seed=experiment.seed)
    store = FrameStore(file.read_bytes() for file in files)
    begin = time.process_time()
    detector.fit(
        store, range(len(store)), steps=experiment.train_steps, size=experiment.image_size, seed=experiment.seed
    )
    seconds = time.process_time() - begin
    test = _held_back_store(held_back)
    result = detector.evaluate(test, range(len(test)), size=experiment.image_size)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_state(kept, detector.state())
    return {"map50": result.map50, "map50_95": result.map50_95, "train_cpu_seconds": seconds}


def _update(
    name: str, start: State, trained_file: Path, seed: int, image_size: int, held_back: Sequence[Clip]
) -> dict[str, Any]:
    """Size of the update of the model that the fog trained on the JPEG files, and mAP of what arrives."""
    import torch

    from rinr_flower.detection import YoloV8
    from rinr_flower.detection.state import read_state
    from rinr_flower.updates import apply_update, updates

    base, trained = (
        {key: torch.from_numpy(value) for key, value in state.items()} for state in (start, read_state(trained_file))
    )
    data = updates.create(name).compress(base, trained, seed=seed)
    arrived = {key: value.numpy() for key, value in apply_update(base, data).items()}
    detector = YoloV8(_names(held_back), weights=arrived, seed=seed)
    test = _held_back_store(held_back)
    result = detector.evaluate(test, range(len(test)), size=image_size)
    return {"bytes": len(data), "map50": result.map50, "map50_95": result.map50_95}
