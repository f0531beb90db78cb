"""Accuracy after training on decoded frames: YOLOv8n trained on each codec's frames, tested on the camera's own.

    python benchmarks/accuracy.py --codecs jpeg jpeg:quality=10 roi_av1 scene:preset=balanced scene@roi_jpeg
    python benchmarks/accuracy.py --data otb100:PATH/Crossing uav123:PATH/boat1 --seeds 0,1,2 --steps 600 --size 320

Every clip's first frames are encoded, decoded and trained on; mAP is measured on its later frames as the camera took
them, over all clips together and for each clip. ``X@Y`` is codec X applied by the fog to what devices uploaded with
codec Y. Without --data: the nine sequences of OTB100, UAV123 and DAC-SDC in the folder that RINR_DATA names, else the
generated sample. Each result is in the file as soon as it is there; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from lib.accuracy_codecs import PayloadCache, Route, Sent, parse_route
from lib.accuracy_frames import RenderedOnce
from lib.accuracy_results import summarise, summary, table
from lib.clips import benchmark_clips
from lib.code_hash import digest_of
from lib.results import FOLDER, ResultFile, Row
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rinr_flower.cli import parse_frames
from rinr_flower.codecs import Jpeg
from rinr_flower.detection import State, Yolo, factory_state
from rinr_flower.detection.average_precision import mean_average_precision
from rinr_flower.detection.batches import labels
from rinr_flower.devices import pick_device
from rinr_flower.errors import ConfigError, DataError, RinrError
from rinr_flower.frames import Clip

CODECS = ("jpeg", "jpeg:quality=20", "jpeg:quality=10", "avif", "roi_jpeg", "av1", "roi_av1", "scene", "scene@roi_jpeg")
DETECTION = ("rinr_flower.detection.yolo",)  # modules that every row depends on; what readers gave is in the digests
MODEL = "yolov8n"
CONFIDENCE = 0.001  # of the least certain detection that counts, as in Detector.evaluate


def default_specs() -> list[str]:
    """The sequences of at least 52 frames in the folder that RINR_DATA names, else the sample, as long."""
    root = os.environ.get("RINR_DATA", "")
    if not root:
        return ["sample:frames=52"]
    return [f"otb100:{root}/otb100", f"uav123:{root}/uav123", f"dac_sdc:{root}/dac_sdc/clips"]


def load_clips(specs: Sequence[str], train: slice, test: slice) -> tuple[dict[str, Clip], dict[str, Clip]]:
    """Per clip (by a name that stays the same between runs) the frames to train on and those to test on.

    Raises DataError if a clip ends before the test frames begin, or if no frame to test on has a box.
    """
    training, testing = {}, {}
    for name, clip in benchmark_clips(specs, None if test.stop is None else slice(0, test.stop), ()):
        if len(clip) <= test.start:
            raise DataError(f"{name} has {len(clip)} frames; those to test on begin at {test.start}: leave it out")
        training[name], testing[name] = clip[train], clip[test]
    if not any(len(frame.boxes) for clip in testing.values() for frame in clip.frames):
        raise DataError("none of the frames to test on has a box; choose others with --test")
    return training, testing


def starting_weights(text: str, cache: Path, device: torch.device) -> State | str | None:
    """Return the weights to start from: "" random, "factory" the factory model, else a path or name as for Yolo."""
    if text == "factory":
        return factory_state(cache=cache, device=device)
    return text or None


def state_digest(state: State) -> str:
    """Hash of a detector's weights."""
    digest = hashlib.sha256()
    for name, array in state.items():
        digest.update(name.encode() + array.tobytes())
    return digest.hexdigest()[:32]


def frame_ranges(clips: dict[str, Clip]) -> dict[str, range]:
    """Return, by clip, its frames in a store that holds ``clips`` in order."""
    ranges, start = {}, 0
    for name, clip in clips.items():
        ranges[name] = range(start, start + len(clip))
        start += len(clip)
    return ranges


def measure(detector: Yolo, store: RenderedOnce, ranges: dict[str, range], size: int) -> tuple[Row, Row]:
    """mAP over all frames of ``store``, and over each clip's; None where a clip has no box."""
    every = range(len(store))
    found = detector.predict(store, every, size=size, confidence=CONFIDENCE)
    truths = [labels(store, i, detector.class_names) for i in every]

    def over(frames: range) -> Row:
        values = mean_average_precision([found[i] for i in frames], [truths[i] for i in frames])
        map50, map50_95 = (None if math.isnan(v) else v for v in values)
        return {"map50_95": map50_95, "map50": map50}

    return over(every), {name: over(frames) for name, frames in ranges.items()}


def byte_counts(clips: dict[str, Clip], sent: dict[str, Sent]) -> dict[str, tuple[int, int, int]]:
    """Per clip the bytes of its payload, of its upload and of the camera's files (JPEG quality 95 if it has none)."""
    jpeg = Jpeg()
    return {
        name: (
            len(sent[name].payload),
            sent[name].upload_bytes,
            sum(len(frame.file or jpeg.file_of(frame)) for frame in clip.frames),
        )
        for name, clip in clips.items()
    }


def per_frame(counts: Sequence[int], frames: int) -> Row:
    """Byte counts (payload, upload, camera) as the fields of a record."""
    fields = ("bytes_per_frame", "upload_bytes_per_frame", "camera_bytes_per_frame")
    return {field: count / frames for field, count in zip(fields, counts, strict=True)}


def _report(bars: Progress, task: TaskID, done: int = 0) -> Callable[[float], None]:
    """Return a callback for the share done of the step after ``done`` whole steps of ``task``."""
    return lambda share: bars.update(task, completed=done + share)


class Benchmark:
    """All that the codecs have in common: clips, settings, caches and the results file."""

    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options = options
        self.console = console
        self.device = pick_device(options.device)
        train, test = parse_frames(options.train), parse_frames(options.test)
        if train is None or test is None:
            raise ConfigError("--train and --test need frames as A:B, for example 0:32")
        self.training, testing = load_clips(options.data or default_specs(), train, test)
        names = tuple(dict.fromkeys(name for clip in self.training.values() for name in clip.class_names))
        self.weights = starting_weights(options.weights, options.work, self.device)
        self.class_names = names
        self.payloads = PayloadCache(options.work / "payloads", self.device)
        jpeg = Jpeg()
        self.ranges = frame_ranges(testing)
        self.test = RenderedOnce([jpeg.encode(c) for c in testing.values()], options.size, device=self.device)
        settings = {
            "clips": {name: [len(self.training[name]), len(testing[name])] for name in testing},
            "train": options.train,
            "test": options.test,
            "test_pictures": self.test.digest(),
            "model": MODEL,
            "weights": Path(options.weights).name or "random",
            "weights_digest": state_digest(self.detector(seed=0).state()),
            "steps": options.steps,
            "batch": options.batch,
            "size_px": options.size,
            "blur": options.blur,
            "input_px": list(self.test.shape),
            "threads": torch.get_num_threads(),
            "device": self.device.type,
        }
        self.results = ResultFile(
            options.out,
            command="RINR_DATA=DIR python benchmarks/accuracy.py",
            settings=settings,
        )

    def detector(self, seed: int) -> Yolo:
        """An untrained detector, or a pretrained one; what its weights leave open is random by ``seed``."""
        return Yolo(
            self.class_names,
            model=MODEL,
            weights=self.weights,
            device=self.device,
            seed=seed,
            downloads=self.options.work,
        )

    def run_codec(self, route: Route, bars: Progress) -> None:
        """Encode and decode with one codec, then train with every seed that the results lack."""
        encoding = bars.add_task(f"{route.spec}: encoding", total=len(self.training))
        sent = {}
        for done, (name, clip) in enumerate(self.training.items()):
            sent[name] = self.payloads.send(route, clip, _report(bars, encoding, done))
            bars.update(encoding, completed=done + 1)
        bars.update(encoding, description=f"{route.spec}: decoding")
        store = RenderedOnce([s.payload for s in sent.values()], self.options.size, device=self.device)
        bars.remove_task(encoding)
        counts, pictures = byte_counts(self.training, sent), store.digest()
        code, training_code = [*route.code, *DETECTION], digest_of(DETECTION)
        for seed in self.options.seeds:
            same = (route.spec, seed, pictures)
            done = [r for r in self.results.rows if (r["codec"], r["seed"], r["pictures"]) == same]
            if done:
                if done[0].get("training_code") == training_code:
                    self.results.renew(done[0], code)
                continue
            training = bars.add_task(f"{route.spec}: seed {seed}", total=1.0)
            result, clips = self.train(store, seed, _report(bars, training))
            bars.remove_task(training)
            for name, clip in self.training.items():
                clips[name].update(per_frame(counts[name], len(clip)))
            totals = [sum(column) for column in zip(*counts.values(), strict=True)]
            head = {"codec": route.spec, "options": [repr(route.download), repr(route.upload)], "seed": seed}
            sizes = per_frame(totals, len(store))
            drawn = {"pictures": pictures, "training_code": training_code}
            row = {**head, **drawn, **result, **sizes, "clips": clips}
            self.results.add(row, code, key=("codec", "seed"))
            self.console.print(
                f"{route.spec}, seed {seed}: mAP50-95 {100 * result['map50_95']:.1f}, "
                f"{sizes['bytes_per_frame']:,.0f} B/frame, {result['wall_s']:.0f} s"
            )

    def train(self, store: RenderedOnce, seed: int, progress: Callable[[float], None]) -> tuple[Row, Row]:
        """One training and its test: the result over all clips, with what it took, and each clip's."""
        wall, cpu = time.perf_counter(), time.process_time()
        detector = self.detector(seed)
        log = detector.fit(
            store,
            range(len(store)),
            steps=self.options.steps,
            batch=self.options.batch,
            size=self.options.size,
            seed=seed,
            blur=self.options.blur,
            progress=progress,
        )
        everything, clips = measure(detector, self.test, self.ranges, self.options.size)
        tail = log.losses[-max(1, len(log.losses) // 20) :]
        took = {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
        return {**everything, "last_loss": round(sum(tail) / len(tail), 4), **took}, clips


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ``arguments`` None takes the process's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", nargs="+", action="extend", metavar="SPEC", help="data sets, as for flower-simulation"
    )
    parser.add_argument("--codecs", nargs="+", default=CODECS, metavar="CODEC", help=f"default: {' '.join(CODECS)}")
    parser.add_argument("--seeds", type=_numbers, default=(0, 1, 2), help="of weights and frame order (default 0,1,2)")
    parser.add_argument("--steps", type=int, default=600, help="training batches (default 600)")
    parser.add_argument("--batch", type=int, default=8, help="frames a batch (default 8)")
    parser.add_argument("--size", type=int, default=320, help="longer side of the input, times 32 px (default 320)")
    parser.add_argument("--blur", type=float, default=0.0, help="share of frames that training blurs (default 0)")
    parser.add_argument(
        "--train", default="0:32", metavar="A:B", help="frames of every clip to train on (default 0:32)"
    )
    parser.add_argument(
        "--test", default="32:52", metavar="A:B", help="frames of every clip to test on (default 32:52)"
    )
    parser.add_argument("--weights", default="", help="start from 'factory', a .pt or .npz; default: random weights")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, mps (default cpu)")
    parser.add_argument("--threads", type=int, default=0, help="of torch on the CPU; 0 leaves its own choice (default)")
    parser.add_argument("--work", type=Path, default=Path("runs/accuracy"), help="folder for payloads and weights")
    parser.add_argument("--out", type=Path, default=FOLDER / "accuracy.json", help="results file")
    return parser.parse_args(arguments)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    failed = False
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        routes = [parse_route(spec) for spec in dict.fromkeys(options.codecs)]
        benchmark = Benchmark(options, console)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bars:
            every = bars.add_task("codecs", total=len(routes))
            for route in routes:
                try:
                    benchmark.run_codec(route, bars)
                except RinrError as error:  # the other codecs' results are wanted all the same
                    failed = True
                    console.print(f"error: {route.spec}: {error}", style="red", markup=False)
                bars.advance(every)
    except RinrError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    benchmark.results.write(summary(benchmark.results.every_row))
    console.print(table(summarise(benchmark.results.rows)))
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
