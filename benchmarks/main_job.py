"""The main job as a user runs it: wall time, peak memory, and mAP against the same training on the JPEG files.

    python benchmarks/main_job.py [--seeds 0,1,2] [--work DIR]

Runs ``flower-simulation --num-clients 10`` for every seed: as it is, with the preset ``fast`` of ``scene``, and with
``jpeg_relay`` (the same devices, captures, detector and steps, trained on the camera's files). The first run trains the
factory model, which later ones take from the cache. Peak memory is the sum of the proportional set sizes of the run's
processes, sampled every half second. Times from capture to trained detector, and the rate of the link below which the
fog is done before JPEG files between devices, are those of the run's report. Resumable: a finished run in ``--work`` is
read, not repeated. Times are meant for a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
from lib.results import FOLDER, write_result

from rinr_flower.report import RunRecord
from rinr_flower.report.rows import accuracy_rows

WAYS = {
    "fog": [],
    "fog_fast": ["--set", "codec.preset=fast"],
    "jpeg_relay": ["--config", "jpeg_relay"],
}
"""What is added to the command; rows name it as their ``strategy``."""
MEANS = ("map50", "least_map50", "map50_95", "seconds")
TIMES = ("encode_s", "end_to_end_s", "jpeg_end_to_end_s", "turning_bytes_per_s")
CODE = (
    "rinr_flower.codecs.scene.codec",
    "rinr_flower.codecs.classical",
    "rinr_flower.datasets",
    "rinr_flower.detection",
    "rinr_flower.clients.client_app",
)


def run(strategy: str, seed: int, out: Path, cache: Path) -> dict[str, Any]:
    """One run as a process of its own; wall seconds and peak memory beside its folder."""
    facts = out.with_suffix(".json")
    if not facts.exists():
        command = ["flower-simulation", "--num-clients", "10", "--seed", str(seed), "--out", str(out)]
        command += WAYS[strategy]
        start, peak = time.perf_counter(), 0
        with subprocess.Popen(command, env={**os.environ, "RINR_CACHE": str(cache)}) as process:
            while process.poll() is None:
                peak = max(peak, memory_bytes(process.pid))
                time.sleep(0.5)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
        facts.write_text(json.dumps({"seconds": time.perf_counter() - start, "peak_bytes": peak}))
    return {**json.loads(facts.read_text()), **accuracy(out), **(times(out) if strategy != "jpeg_relay" else {})}


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process and all that it started."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            try:
                total += process.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total


def accuracy(out: Path) -> dict[str, float]:
    """Mean over devices of the last round, the least of them, and the mean of the start model."""
    record = RunRecord.load(out)
    start, *_, last = accuracy_rows(record.accuracy)
    return {
        "start_map50": start["map50"],
        **{key: last[key] for key in ("map50", "least_map50", "map50_95")},
        "camera_bytes": sum(p.camera_bytes for p in record.payloads),
        "payload_bytes": sum(p.payload_bytes for p in record.payloads),
    }


def times(out: Path) -> dict[str, float]:
    """Seconds of encoding, seconds from capture to trained detector beside those of JPEG files between devices on the
    run's link (bytes/s), and the rate of the link below which the fog is done first."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    (own,) = (row for row in report["schemes"] if row["own"])
    head = report["headline"]
    return {
        "encode_s": own["encode_seconds"],
        "end_to_end_s": head["total_seconds"],
        "jpeg_end_to_end_s": head["baseline_total_seconds"],
        "link_bytes_per_s": head["rate_bytes_per_s"],
        "turning_bytes_per_s": head["turning_rate"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--work", type=Path, default=Path("runs/main_job"))
    parser.add_argument("--out", type=Path, default=FOLDER / "main_job.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in map(int, options.seeds.split(",")):
        for strategy in WAYS:
            facts = run(strategy, seed, options.work / f"{strategy}-{seed}", options.work / "cache")
            runs.append({"strategy": strategy, "seed": seed, **facts})
    mean = {
        s: {
            k: statistics.mean(r[k] for r in runs if r["strategy"] == s)
            for k in (*MEANS, *(TIMES if s != "jpeg_relay" else ()))
        }
        for s in WAYS
    }
    write_result(options.out, command="python benchmarks/main_job.py", code=CODE, rows=runs, summary={"mean": mean})
    print(json.dumps(mean, indent=2))


if __name__ == "__main__":
    main()
