"""Time of a training epoch: frames rendered from payloads against ultralytics' own JPEG loader.

    python benchmarks/speed.py train [--data SPEC] [--codec scene --codec residual] [--model yolov8n.yaml] [--size 320]
        [--batch 8] [--workers 0 2 4 8] [--repeats 3] [--device cpu]

Every row is a real training by ultralytics' trainer, on the same frames, in batches of the same size, with
ultralytics' default augmentation: its loader reads JPEG files (``workers`` processes, ``cache`` off or ram), ours
renders payloads (``cache`` off or on). The rows take turns, ``--repeats`` times, each for two epochs, of which the
second is timed; medians are written. "Waiting" is the share of the epoch that passes between the end of one step and
the arrival of the next batch; "to cached images" is the epoch's time over that of ultralytics' images in RAM without
workers, the bar for payloads with cache on being 1.1.

Networks are fitted for five steps only: their speed depends on their shape alone. Ultralytics starts no more workers
than the machine has processors, and no more than an epoch has batches; larger numbers are left out. Each training is
written to ``--out`` when it is done; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.codecs import Codec, codecs
from rinr_flower.datasets import load
from rinr_flower.detection import RinrTrainer
from rinr_flower.detection.engine import torchvision_or_stand_in, ultralytics
from rinr_flower.frames import Clip, write_jpeg

from .code_hash import code_of
from .results import FOLDER, ResultFile, Row
from .speed_subjects import SHORT_FITS

TIMED_EPOCH = 1
RAM_IMAGES = "JPEG files, 0 workers, cache ram"


@dataclass(frozen=True)
class Stage:
    """One way to feed the training."""

    name: str
    trainer: type
    data: str
    cache: Any
    workers: int
    bytes_on_disk: int
    code: tuple[str, ...] = ("rinr_flower.frames",)


class Clock:
    """Callbacks that time one epoch of a trainer."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.gpu: list[float] = []
        self.measured: dict[str, Any] = {}

    def epoch_start(self, trainer: Any) -> None:
        if trainer.epoch == TIMED_EPOCH:
            self.cpu = _cpu_seconds()
            self.start = self.step_end = time.perf_counter()

    def batch_start(self, trainer: Any) -> None:
        if trainer.epoch == TIMED_EPOCH:
            self.waited += time.perf_counter() - self.step_end

    def batch_end(self, trainer: Any) -> None:
        if trainer.epoch == TIMED_EPOCH:
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
                self.gpu.append(torch.cuda.utilization() / 100)
            self.step_end = time.perf_counter()

    def epoch_end(self, trainer: Any) -> None:
        if trainer.epoch == TIMED_EPOCH:
            seconds = time.perf_counter() - self.start
            self.measured = {
                "seconds": seconds,
                "batches": len(trainer.train_loader),
                "waiting_share": self.waited / seconds,
                "cores_busy": (_cpu_seconds() - self.cpu) / seconds,
                "gpu_busy": statistics.mean(self.gpu) if self.gpu else None,
            }


def _cpu_seconds() -> float:
    """Processor time of this process and of its living children."""
    me = psutil.Process()
    times = [p.cpu_times() for p in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def write_jpegs(clips: Sequence[Clip], root: Path) -> int:
    """The clips as image and label files with a data set YAML; returns the bytes of the images."""
    names = list(dict.fromkeys(n for c in clips for n in c.class_names))
    total = 0
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for c, clip in enumerate(clips):
        for i, frame in enumerate(clip.frames):
            data = frame.file or write_jpeg(frame.image, 95)
            total += len(data)
            (root / "images" / f"{c:03d}-{i:05d}.jpg").write_bytes(data)
            rows = [
                f"{names.index(clip.class_names[k])} {(a + d) / 2 / frame.width} {(b + e) / 2 / frame.height} "
                f"{(d - a) / frame.width} {(e - b) / frame.height}"
                for (a, b, d, e), k in zip(frame.boxes.tolist(), frame.classes.tolist(), strict=True)
            ]
            (root / "labels" / f"{c:03d}-{i:05d}.txt").write_text("\n".join(rows))
    description = {"path": str(root), "train": "images", "val": "images", "names": dict(enumerate(names))}
    (root / "data.yaml").write_text(yaml.safe_dump(description))
    return total


def fitted(name: str) -> Codec:
    """A codec whose networks have their full shapes and short fits."""
    return codecs.create(name, **SHORT_FITS.get(name, {}))


def write_payloads(clips: Sequence[Clip], name: str, root: Path) -> int:
    """The clips as payloads, for training and for validation; returns the bytes of one of the two."""
    payloads = fitted(name).encode_many(clips)
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for c, payload in enumerate(payloads):
            (root / part / f"{c:03d}.rinr").write_bytes(payload)
    return sum(map(len, payloads))


def run(stage: Stage, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Train for two epochs and time the second."""
    trainer = stage.trainer(
        overrides={
            "model": options.model, "task": "detect", "data": stage.data, "imgsz": options.size, "batch": options.batch,
            "epochs": TIMED_EPOCH + 1, "cache": stage.cache, "device": options.device, "val": False, "plots": False,
            "save": False, "close_mosaic": 0, "project": str(folder), "name": "run", "exist_ok": True,
        }
    )  # fmt: skip
    trainer.args.workers = stage.workers  # on a CPU ultralytics sets it to 0 itself
    trainer.save_model = lambda: None  # ultralytics saves after the last epoch whatever ``save`` says
    clock = Clock()
    trainer.add_callback("on_train_epoch_start", clock.epoch_start)
    trainer.add_callback("on_train_batch_start", clock.batch_start)
    trainer.add_callback("on_train_batch_end", clock.batch_end)
    trainer.add_callback("on_train_epoch_end", clock.epoch_end)
    with torchvision_or_stand_in():
        trainer.train()
    return clock.measured


def stages_of(clips: Sequence[Clip], options: argparse.Namespace, root: Path) -> list[Stage]:
    """Every way to feed the training, its data written to ``root``."""
    stages = []
    jpeg_trainer = ultralytics("models.yolo.detect").DetectionTrainer
    size = write_jpegs(clips, root / "jpegs")
    for workers in sorted({min(w, os.cpu_count() or 1) for w in options.workers}):
        for cache in (False, "ram"):
            name = f"JPEG files, {workers} workers, cache {'ram' if cache else 'off'}"
            stages.append(Stage(name, jpeg_trainer, str(root / "jpegs" / "data.yaml"), cache, workers, size))
    for codec in options.codec or ["scene", "residual"]:
        size = write_payloads(clips, codec, root / codec)
        code = (*code_of(fitted(codec)), "rinr_flower.detection.trainer")
        for cache in (False, True):
            name = f"payloads of {codec}, cache {'on' if cache else 'off'}"
            stages.append(Stage(name, RinrTrainer, str(root / codec), cache, 0, size, code))
    return stages


def summary(runs: Sequence[Row]) -> list[Row]:
    """Medians by stage."""
    found = {name: [r for r in runs if r["stage"] == name] for name in dict.fromkeys(r["stage"] for r in runs)}
    keys = ("seconds", "waiting_share", "cores_busy")
    medians = {name: {key: statistics.median(r[key] for r in rs) for key in keys} for name, rs in found.items()}
    cached = medians.get(RAM_IMAGES, {}).get("seconds")
    rows = []
    for name, rs in found.items():
        gpu = [r["gpu_busy"] for r in rs if r["gpu_busy"] is not None]
        rows.append(
            {
                "stage": name,
                "seconds_per_epoch": medians[name]["seconds"],
                "frames_per_s": rs[0]["frames"] / medians[name]["seconds"],
                "to_cached_images": medians[name]["seconds"] / cached if cached else None,
                "waiting_share": medians[name]["waiting_share"],
                "cores_busy": medians[name]["cores_busy"],
                "gpu_busy": statistics.median(gpu) if gpu else None,
                "data_bytes": rs[0]["data_bytes"],
            }
        )
    return rows


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        "speed.py train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="sample:sequences=3,frames=16,width=640,height=360")
    parser.add_argument("--codec", action="append", default=[], choices=codecs.names(), help="repeat for several")
    parser.add_argument("--model", default="yolov8n.yaml")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=FOLDER / "speed_train.json")
    options = parser.parse_args(arguments)
    clips = load(options.data)
    frames = sum(map(len, clips))
    file = ResultFile(
        options.out,
        command="python benchmarks/speed.py train",
        settings={k: getattr(options, k) for k in ("data", "model", "size", "batch", "device")},
    )
    with tempfile.TemporaryDirectory() as temporary:
        stages = stages_of(clips, options, Path(temporary))
        for repeat, stage in track([(r, s) for r in range(options.repeats) for s in stages], "taking turns"):
            if any((r["stage"], r["repeat"]) == (stage.name, repeat) for r in file.rows):
                continue
            row = {"stage": stage.name, "repeat": repeat, "frames": frames, "data_bytes": stage.bytes_on_disk}
            row |= run(stage, options, Path(temporary) / "runs")
            file.add(row, stage.code, key=("stage", "repeat"))
    file.write(summary(file.rows))
    columns = ("seconds_per_epoch", "frames_per_s", "to_cached_images", "waiting_share", "cores_busy")
    table = Table(
        "stage", "s / epoch", "frames / s", "to cached images", "waiting", "cores busy",
        title=f"{options.model} at {options.size}",
    )  # fmt: skip
    for row in summary(file.rows):
        table.add_row(row["stage"], *("-" if row[k] is None else f"{row[k]:.2f}" for k in columns))
    Console().print(table)
