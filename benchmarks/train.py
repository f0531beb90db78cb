"""Time of a training epoch: frames rendered from payloads against ultralytics' own JPEG loader.

    python benchmarks/train.py [--data SPEC] [--codec jpeg --codec residual] [--model yolov8n.yaml] [--size 320]
        [--batch 8] [--workers 0 2] [--repeats 3] [--device cpu]

Every row is a real training by ultralytics' trainer with its own augmentation, on the same frames: its loader reads
JPEG files (``workers`` processes, ``cache`` off or ram), ours renders payloads (``cache`` off or on). The rows take
turns, ``--repeats`` times, each for two epochs, of which the second is timed; medians are written. "Waiting" is the
share of the epoch that passes between the end of one step and the arrival of the next batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml
from machine import describe
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rinr_flower.codecs import codecs
from rinr_flower.datasets import load
from rinr_flower.detection import RinrTrainer
from rinr_flower.detection.engine import torchvision_or_stand_in, ultralytics
from rinr_flower.frames import Clip, write_jpeg

TIMED_EPOCH = 1


@dataclass
class Stage:
    """One way to feed the training, and what it measured."""

    name: str
    trainer: type
    data: str
    cache: Any
    workers: int
    bytes_on_disk: int
    seconds: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    cores_busy: list[float] = field(default_factory=list)
    gpu_busy: list[float] = field(default_factory=list)


class Clock:
    """Callbacks that time one epoch of a trainer."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.waited = 0.0
        self.gpu: list[float] = []

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
            self.stage.seconds.append(seconds)
            self.stage.waiting.append(self.waited / seconds)
            self.stage.cores_busy.append((_cpu_seconds() - self.cpu) / seconds)
            if self.gpu:
                self.stage.gpu_busy.append(statistics.mean(self.gpu))


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


def write_payloads(clips: Sequence[Clip], spec: Mapping[str, Any] | str, root: Path) -> int:
    """The clips as payloads, for training and for validation; returns the bytes of one of the two."""
    payloads = codecs.create(spec).encode_many(clips)
    for part in ("train", "val"):
        (root / part).mkdir(parents=True)
        for c, payload in enumerate(payloads):
            (root / part / f"{c:03d}.rinr").write_bytes(payload)
    return sum(map(len, payloads))


def run(stage: Stage, options: argparse.Namespace, folder: Path) -> None:
    """Train for two epochs and time the second."""
    trainer = stage.trainer(
        overrides={
            "model": options.model, "task": "detect", "data": stage.data, "imgsz": options.size, "batch": options.batch,
            "epochs": TIMED_EPOCH + 1, "cache": stage.cache, "device": options.device, "val": False, "plots": False,
            "save": False, "close_mosaic": 0, "project": str(folder), "name": "run", "exist_ok": True,
        }
    )  # fmt: skip
    trainer.args.workers = stage.workers  # on a CPU ultralytics sets it to 0 itself
    clock = Clock(stage)
    trainer.add_callback("on_train_epoch_start", clock.epoch_start)
    trainer.add_callback("on_train_batch_start", clock.batch_start)
    trainer.add_callback("on_train_batch_end", clock.batch_end)
    trainer.add_callback("on_train_epoch_end", clock.epoch_end)
    with torchvision_or_stand_in():
        trainer.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sample:sequences=4,frames=16,width=640,height=360")
    parser.add_argument("--codec", action="append", default=[], help="a codec name; repeat for several")
    parser.add_argument("--model", default="yolov8n.yaml")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "train.json")
    options = parser.parse_args()
    clips = load(options.data)
    frames = sum(map(len, clips))
    jpeg_trainer = ultralytics("models.yolo.detect").DetectionTrainer
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        stages = []
        size = write_jpegs(clips, root / "jpegs")
        for workers in options.workers:
            for cache in (False, "ram"):
                name = f"JPEG files, {workers} workers, cache {'ram' if cache else 'off'}"
                stages.append(Stage(name, jpeg_trainer, str(root / "jpegs" / "data.yaml"), cache, workers, size))
        for codec in options.codec or ["jpeg", "residual"]:
            size = write_payloads(clips, codec, root / codec)
            for cache in (False, True):
                name = f"payloads of {codec}, cache {'on' if cache else 'off'}"
                stages.append(Stage(name, RinrTrainer, str(root / codec), cache, 0, size))
        for _ in track(range(options.repeats), description="taking turns"):
            for stage in stages:
                run(stage, options, root / "runs")
    rows = [
        {
            "stage": s.name,
            "seconds_per_epoch": statistics.median(s.seconds),
            "frames_per_s": frames / statistics.median(s.seconds),
            "waiting_share": statistics.median(s.waiting),
            "cores_busy": statistics.median(s.cores_busy),
            "gpu_busy": statistics.median(s.gpu_busy) if s.gpu_busy else None,
            "data_bytes": s.bytes_on_disk,
            "all_seconds": s.seconds,
        }
        for s in stages
    ]
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k != "out"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"machine": describe(), "settings": settings, "frames": frames, "rows": rows}, indent=2) + "\n"
    )
    table = Table(
        "stage", "s / epoch", "frames / s", "waiting", "cores busy", title=f"{options.model} at {options.size}"
    )
    for row in rows:
        table.add_row(
            str(row["stage"]),
            *(f"{row[k]:.2f}" for k in ("seconds_per_epoch", "frames_per_s", "waiting_share", "cores_busy")),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
