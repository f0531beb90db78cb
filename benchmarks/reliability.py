"""Reliability of a run: killed processes, faulty devices, many devices and rounds, and what that costs.

    python benchmarks/reliability.py [--part resume --part faults ...] [--out benchmarks/results/reliability.json]

- ``resume``: kill -9 at 20 random moments of one run, then ``--resume``: see ``lib/reliability_resume.py``.
- ``faults``, ``faults_fedavg``, ``load``, ``growth``, ``overhead``: devices that fail, without and with ``FedAvg``,
  200 devices, 24 rounds, and the cost of signatures, checksums and durable writes: see ``lib/reliability_faults.py``.
- ``many``: one round with up to 1,000 devices: memory of the fog, see ``lib/reliability_many.py``.
- ``wire``, ``nodes``: a deployment on loopback with TLS and authentication: bytes at the sockets, and a run with 3 of
  10 nodes and the SuperLink killed: see ``lib/reliability_deployed.py``.

Each part is in the file as soon as it is measured; other parts that are there already stay.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from lib import reliability_deployed, reliability_faults, reliability_many, reliability_resume
from lib.results import FOLDER, ResultFile

CODE = ("rinr_flower.strategies.fog_node", "rinr_flower.clients.client_app")  # modules that every part depends on
PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "resume": partial(reliability_resume.measure, kills=20, seed=0),
    "faults": reliability_faults.measure_faults,
    "faults_fedavg": partial(reliability_faults.measure_faults, inner="FedAvg"),
    "many": reliability_many.measure,
    "load": reliability_faults.measure_load,
    "growth": reliability_faults.measure_growth,
    "overhead": reliability_faults.measure_overhead,
    "wire": reliability_deployed.measure_wire,
    "nodes": partial(reliability_deployed.measure_faults, devices=10, killed=3),
}
RESULTS = FOLDER / "reliability.json"


def main(
    part: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(PARTS)}; repeatable; all")] = None,
    out: Annotated[Path, typer.Option(help="JSON file that the parts are entered in")] = RESULTS,
) -> None:
    """Measure what a run survives."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a federation is taken down
    chosen = part or list(PARTS)
    if unknown := sorted(set(chosen) - set(PARTS)):
        raise typer.BadParameter(f"unknown part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    for name in chosen:
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).mkdir()
            found = PARTS[name](Path(folder) / name)
        seconds = round(time.monotonic() - start, 1)
        file = ResultFile(out, command="python benchmarks/reliability.py")
        file.add({"part": name, "measured_in_seconds": seconds, **found}, CODE, key=("part",))
        typer.echo(f"{name}: {json.dumps({k: v for k, v in found.items() if not isinstance(v, list | dict)})}")


if __name__ == "__main__":
    typer.run(main)
