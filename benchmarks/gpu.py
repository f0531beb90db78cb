"""Proves decoding, training and encoding on one GPU, in under six minutes.

    python benchmarks/gpu.py [--device cuda] [--quick] [--parts right decode ...] [--out FILE] [--work FOLDER]

Parts, each in a process of its own, because a fault on the device ends the process that it happens in:

prepare  encodes the clips that the others use
right    every codec against float64 and against the processor; kernels against plain torch; memory; mixed precision
decode   frames a second, cold and warm, against nvJPEG, torchvision, OpenCV and Pillow; shares of the device's ceilings
train    an epoch of YOLOv8 from payloads against ultralytics' JPEG loader
encode   seconds a frame of INR fits and of ``scene``, against two threads of the processor
clients  processes that share the device against one process; Ray's actors where Ray is installed

Every case is written to ``--out`` when it is done, and is not run again by a later call; a case for which a part's time
(BUDGET_S) was not enough is named, and run then. What needs a library that is not installed says so. It needs torch,
torchvision, triton, numpy, pillow, OpenCV and what ``benchmarks/wheels.py`` collects; no network, no Flower, no Ray. A
checkout need not be installed: ``PYTHONPATH=. python benchmarks/gpu.py``. ``--quick`` runs every case with tiny sizes,
``--device cpu`` on the processor.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from lib.gpu.bars import show
from lib.gpu.case import KEY, Case, run_cases
from lib.gpu.setting import NETWORKS, Setting
from lib.results import FOLDER, ResultFile, Row
from rich.console import Console

BUDGET_S = {"prepare": 30, "right": 55, "decode": 75, "train": 105, "encode": 45, "clients": 40}
"""Seconds of each part, the start of its process included: 350 together."""

PATIENCE = 4  # times the budget, on a processor
GRACE_S = 10  # by which a case that is running may pass its part's time before it is stopped
CODE = {
    "prepare": ["rinr_flower.codecs"],
    "right": ["rinr_flower.codecs", "rinr_flower.decoding.store", "rinr_flower.detection.yolo"],
    "decode": ["rinr_flower.codecs", "rinr_flower.decoding.store"],
    "train": ["rinr_flower.codecs", "rinr_flower.detection.trainer"],
    "encode": ["rinr_flower.codecs"],
    "clients": ["rinr_flower.codecs", "rinr_flower.detection.yolo"],
}
"""Modules that each part's figures depend on."""


def prepare(setting: Setting) -> list[Case]:
    """One case for each codec whose payloads the other parts use."""

    def encode(name: str) -> Row:
        found = setting.payloads(name)
        return {"payloads": len(found), "bytes": sum(map(len, found))}

    return [Case(name, lambda name=name: encode(name)) for name in NETWORKS]  # type: ignore[misc]


def inside(part: str, setting: Setting, file: ResultFile, until: float) -> None:
    """Run one part in this process."""
    made = prepare(setting) if part == "prepare" else importlib.import_module(f"lib.gpu.{part}").cases(setting)
    run_cases(part, made, CODE[part], file, until)


def start_part(part: str, arguments: list[str], budget_s: float, log: Path) -> str | None:
    """Run one part in a process of its own; what ended it before its time, or None."""
    command = [sys.executable, __file__, *arguments, "--inside", part, "--until", str(time.time() + budget_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if part == "right" and "cpu" in arguments and importlib.util.find_spec("triton"):
        environment["TRITON_INTERPRET"] = "1"  # the kernels, on the processor
    if "--quick" in arguments:
        environment.setdefault("OMP_NUM_THREADS", "1")  # threads cost more than tiny tensors gain
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(budget_s + GRACE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that the part started
            process.wait()
            return f"stopped after {budget_s + GRACE_S:.0f} s"
    if status:
        lines = log.read_text(errors="replace").strip().splitlines() or [""]
        return f"ended with status {status}: {lines[-1]}"
    return None


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="every case, with tiny sizes")
    parser.add_argument("--parts", nargs="+", choices=BUDGET_S, default=list(BUDGET_S))
    parser.add_argument("--work", type=Path, default=Path("build") / "gpu", help="payloads and logs")
    parser.add_argument("--out", type=Path, default=FOLDER / "gpu.json")
    parser.add_argument("--inside", choices=BUDGET_S, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("no CUDA device here; --device cpu --quick runs every part that a processor can run")
    setting = Setting(torch.device(options.device), options.quick, options.work)
    command = f"python benchmarks/gpu.py --device {options.device}{' --quick' if options.quick else ''}"

    def result() -> ResultFile:
        return ResultFile(
            options.out, command=command, settings={"device": setting.device_name, "quick": options.quick}
        )

    if options.inside:
        inside(options.inside, setting, result(), options.until)
        return
    options.work.mkdir(parents=True, exist_ok=True)
    arguments = ["--device", options.device, "--work", str(options.work), "--out", str(options.out)]
    arguments += ["--quick"] if options.quick else []
    console = Console(width=140)
    for part in options.parts:
        start, log = time.perf_counter(), options.work / f"{part}.log"
        budget_s = BUDGET_S[part] * (1 if setting.cuda else PATIENCE)
        ended = start_part(part, arguments, budget_s, log)
        took = time.perf_counter() - start
        row: Row = {"part": part, "case": "the whole part", "subject": "", "took_s": took}
        result().add({**row, "failed": f"{ended}; see {log}"} if ended else row, CODE[part], key=KEY)
        console.print(f"{part}: {took:.0f} s{f', {ended}' if ended else ''}")
    rows = result().rows
    show(rows, console, cuda=setting.cuda)
    sys.exit(1 if any("failed" in row or row.get("ok") is False for row in rows) else 0)


if __name__ == "__main__":
    main()
