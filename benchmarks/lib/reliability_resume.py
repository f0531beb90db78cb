"""kill -9 at random moments of one small run, then ``--resume``: every one must end like a run that nothing disturbed.

    python benchmarks/reliability.py --part resume

Runs the real command ``flower-simulation`` on the generated sample: once undisturbed, then once for every kill. Moments
are drawn evenly over the time from the first round's beginning to the end of the report. A run that has ended before
its moment comes is counted as such. What must be equal: the files in ``payloads/`` and ``captures/``, what was encoded
(no clip twice), every row of the ledger that carries data, and the report but for times and for the bytes of control
messages and of what was really sent twice.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.progress import track
from tiny_scenario import TINY, options_of

from rinr_flower.bandwidth import Ledger

SCENARIO = {
    **TINY,
    "rounds": 3,
    "codec": {"name": "rapid_inr", "steps": 20},
    "data": "sample:sequences=3,frames=12,width=128,height=96",
    "steps": 2,
}
COMPARED = ("headline", "schemes", "codecs", "accuracy", "crossovers", "graphs", "devices", "failures", "decisions")
# times, what follows from them, and message bytes, which hold Flower's random ids and what was sent twice
NOT_COMPARED = (
    "seconds",
    "seconds_per_frame",
    "joules",
    "message_bytes",
    "overhead_bytes",
    "sent_bytes",
    "received_bytes",
)
NO_DATA = ("repeated", "control")
"""Kinds of the ledger in which a resumed run may differ: what was sent twice, and messages that ask or answer."""
PATIENCE_S = 600


def measure(work: Path, kills: int, seed: int) -> dict[str, Any]:
    """One undisturbed run and ``kills`` killed ones under ``work``, compared."""
    whole = work / "undisturbed"
    _end(_start(["--out", str(whole), *options_of(SCENARIO)]))
    began = (whole / "rounds" / "000.json").stat().st_mtime
    lasted = (whole / "report.html").stat().st_mtime - began
    moments = np.sort(np.random.default_rng(seed).uniform(0, lasted, kills))
    expected = outcome(whole)
    rows = [_killed(work / f"killed-{i:02d}", float(moment), expected) for i, moment in enumerate(track(moments))]
    return {
        "kills": kills,
        "seed": seed,
        "scenario": SCENARIO,
        "undisturbed_seconds": lasted,
        "killed": sum(row["killed"] for row in rows),
        "equal": sum(row["killed"] and not row["differs"] for row in rows),
        "runs": rows,
    }


def _killed(folder: Path, moment: float, expected: Mapping[str, Any]) -> dict[str, Any]:
    """A run that is killed ``moment`` seconds after its first round has begun, and what comes of resuming it."""
    process = _start(["--out", str(folder), *options_of(SCENARIO)])
    while not (folder / "rounds" / "000.json").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(moment)
    killed = process.poll() is None
    family = psutil.Process(process.pid).children(recursive=True) if killed else []
    process.kill()
    process.wait()
    left = _left(family, 3)
    row = {
        "moment_seconds": moment,
        "killed": killed,
        "processes_left": len(left),
        "rounds_before": sum(1 for path in (folder / "rounds").glob("*.json") if path.stem != "000"),
        "encoded_before": len(_lines(folder / "encoded.jsonl")),
    }
    for other in left:
        other.kill()
    began = time.monotonic()
    _end(_start(["--resume", str(folder)]))
    found = outcome(folder)
    ledger = Ledger.read(folder / "ledger.csv")
    return {
        **row,
        "resume_seconds": time.monotonic() - began,
        "repeated_bytes": sum(e.message_bytes for e in ledger if e.kind == "repeated"),
        "differs": list(_differences(expected, found, "")),
    }


def _left(family: list[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those of Ray's processes that do not end by themselves; zombies have ended."""
    end = time.monotonic() + patience_s
    while True:
        left = []
        for process in family:
            with suppress(psutil.NoSuchProcess):
                if process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def outcome(folder: Path) -> dict[str, Any]:
    """Return the parts of a run that an interruption must not change."""
    ledger = Ledger.read(folder / "ledger.csv")
    besides = sum(e.message_bytes for e in ledger if e.kind in NO_DATA)
    report = json.loads(
        (folder / "report.json").read_text(encoding="utf-8"),
        object_hook=lambda found: {k: v - besides if k.endswith("total_bytes") else v for k, v in found.items()},
    )
    keys = [json.loads(line)["key"] for line in _lines(folder / "encoded.jsonl")]
    rows = [
        [e.round, e.source, e.destination, e.kind, e.content, e.payload_bytes] for e in ledger if e.kind not in NO_DATA
    ]
    return {
        "payloads": sorted(path.name for path in (folder / "payloads").iterdir()),
        "captures": sorted(path.name for path in (folder / "captures").iterdir()),
        "encoded_twice": len(keys) - len(set(keys)),
        "ledger": sorted(rows),
        **{key: report.get(key) for key in COMPARED},
    }


def _differences(a: Any, b: Any, path: str) -> Iterator[str]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(set(a) | set(b)):
            if not key.endswith(NOT_COMPARED):
                yield from _differences(a.get(key), b.get(key), f"{path}/{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for index, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, f"{path}/{index}")
    elif a != b:
        yield f"{path}: {a!r} became {b!r}"[:200]


def _lines(path: Path) -> list[bytes]:
    """Whole lines of the index of what was encoded."""
    return [line for line in path.read_bytes().splitlines() if line.endswith(b"}")] if path.exists() else []


def _start(options: list[str]) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("flower-simulation")), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _end(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=PATIENCE_S)
    if process.returncode != 0:
        raise RuntimeError(f"flower-simulation ended with {process.returncode}: {said.decode()[-2000:]}")
