"""Mutated payloads and updates of every format, under limits of memory and time.

``python benchmarks/fuzz.py --count 1000000 --seed 0`` decodes that many inputs in a worker that may take 1 GB of
address space more than it has after its imports, and two seconds of processor time an input. What counts as a finding:
an exception that is no RinrError, a worker that dies, an overrun, altered bytes that pass the checksum and give another
picture, and a result that contradicts its own header. ``--keep DIR`` writes the input of every finding there;
``--only N`` repeats input N alone. Exit code 1 if there are findings.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import multiprocessing
import os
import queue
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from fuzz_inputs import Input, Seed, mutate, seeds, small_model
from machine import describe
from rich.console import Console

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import decode
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import RinrError
from rinr_flower.updates import apply_update

MEMORY_BYTES = 1 << 30
SECONDS = 2.0
STALL_S = 120.0  # wall clock after which a worker that does not come back from native code is killed
NATIVE_PX = 1 << 18  # declared pixels up to which a whole clip is decoded; of larger ones one frame is drawn small
SMALL = (64, 64)
_CHUNK = 200


class OverrunError(BaseException):
    """Raised by the timer, out of reach of ``except Exception``."""


class FindingError(Exception):
    """A result that must not be."""


def digest_of(data: bytes, base: dict[str, torch.Tensor]) -> str:
    """Decode a payload or apply an update as a receiver does; a digest of the pictures or weights.

    Raises RinrError where the input is refused, and FindingError where what came out contradicts what was declared.
    """
    if data.startswith(b"RUPD"):
        state = apply_update(base, data)
        if {k: (v.shape, v.dtype) for k, v in state.items()} != {k: (v.shape, v.dtype) for k, v in base.items()}:
            raise FindingError("an update changed a tensor's shape or type")
        if not all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point()):
            raise FindingError("an update gave a weight that is not finite")
        return hashlib.sha256(b"".join(bytes(v.numpy().tobytes()) for v in state.values())).hexdigest()
    payload = Payload.from_bytes(data)
    if len(payload) * payload.width * payload.height <= NATIVE_PX:
        images = decode(data).images()
        if images.shape != (len(payload), payload.height, payload.width, 3):
            raise FindingError(f"pictures of shape {images.shape} for {payload.width}x{payload.height}")
        return hashlib.sha256(images.tobytes()).hexdigest()
    store = FrameStore([data])
    picture = store.render([len(store) - 1], SMALL)
    if len(store) != len(payload) or not bool(torch.isfinite(picture).all()):
        raise FindingError("a store of other frames than declared, or a picture that is not finite")
    return hashlib.sha256(picture.numpy().tobytes()).hexdigest()


def attempt(item: Input, wanted: str, base: dict[str, torch.Tensor]) -> tuple[str, str, float]:
    """Outcome (``refused``, ``decoded``, ``same`` or ``finding``), its text, and the seconds of processor time."""
    started = time.process_time()
    outcome, text = "decoded", ""
    try:
        with time_limit(SECONDS):
            found = digest_of(item.data, base)
        if item.data == item.seed.data:
            outcome = "same"
        if item.layer == "raw" and found != wanted:
            raise FindingError("altered bytes passed the checksum and gave another picture")
        if item.data == item.seed.data and found != wanted:
            raise FindingError("the same bytes gave another picture")
    except RinrError:
        outcome = "refused"
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # native extensions panic with exceptions that are no Exception
        where = traceback.extract_tb(error.__traceback__)[-1]
        outcome, text = "finding", f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
    seconds = time.process_time() - started
    if seconds > SECONDS and outcome != "finding":
        outcome, text = "finding", f"{seconds:.1f} s of processor time, then {outcome}"
    return outcome, text[:400], seconds


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """OverrunError after ``seconds`` of this process's processor time."""

    def stop(number: int, frame: object) -> None:
        raise OverrunError(f"no result within {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(more_bytes: int) -> None:
    """Let this process take ``more_bytes`` of address space beyond what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def work(corpus: list[Seed], seed: int, numbers: list[int], current: Any, results: Any) -> None:
    """The worker: every input in ``numbers``; a chunk of outcomes at a time goes to ``results``."""
    torch.set_num_threads(1)
    base = small_model()
    wanted = {s.data: digest_of(s.data, base) for s in corpus}
    limit_memory(MEMORY_BYTES)
    chunk: list[tuple[int, str, str, str, str, float]] = []
    for number in numbers:
        current.value = number
        item = mutate(corpus, seed, number)
        chunk.append((number, item.seed.name, item.layer, *attempt(item, wanted[item.seed.data], base)))
        if len(chunk) == _CHUNK or chunk[-1][3] == "finding":
            results.put(chunk)
            chunk = []
    results.put(chunk)
    results.put(None)


def run(count: int, seed: int, *, first: int = 0) -> dict[str, Any]:
    """Inputs ``first`` to ``first + count``; a worker that dies or stalls is a finding and the next one goes on."""
    corpus, stop = seeds(), first + count
    context = multiprocessing.get_context("fork")
    outcomes: Counter[tuple[str, str, str]] = Counter()
    findings: list[dict[str, Any]] = []
    slowest, at, deadly = {"seconds": 0.0}, first, set[int]()
    while at < stop:
        current, results = context.Value(ctypes.c_longlong, at), context.Queue()
        numbers = [n for n in range(at, stop) if n not in deadly]
        worker = context.Process(target=work, args=(corpus, seed, numbers, current, results), daemon=True)
        worker.start()
        seen, moved = at, time.monotonic()
        while True:
            try:
                chunk = results.get(timeout=1)
            except queue.Empty:
                if current.value != seen:
                    seen, moved = current.value, time.monotonic()
                stalled = time.monotonic() - moved > STALL_S
                if stalled:
                    worker.kill()
                if not worker.is_alive() or stalled:
                    worker.join()
                    item = mutate(corpus, seed, current.value)
                    text = "hangs in native code" if stalled else f"the worker ended with code {worker.exitcode}"
                    findings.append(_finding(current.value, item.seed.name, item.layer, text))
                    outcomes[item.seed.name, item.layer, "finding"] += 1
                    deadly.add(current.value)
                    break
                continue
            if chunk is None:
                worker.join()
                at = stop
                break
            for number, name, layer, outcome, text, seconds in chunk:
                at = number + 1
                outcomes[name, layer, outcome] += 1
                if outcome == "finding":
                    findings.append(_finding(number, name, layer, text))
                if seconds > slowest["seconds"]:
                    slowest = {"seconds": seconds, "number": number, "seed": name, "layer": layer}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "count": count,
        "first": first,
        "seed": seed,
        "memory_limit_bytes": MEMORY_BYTES,
        "seconds_limit": SECONDS,
        "cpu_seconds": round(children.ru_utime + children.ru_stime, 1),
        "peak_resident_bytes": children.ru_maxrss * 1024,
        "slowest": slowest,
        "outcomes": _table(outcomes),
        "findings": findings,
        "machine": describe(),
    }


def _finding(number: int, name: str, layer: str, text: str) -> dict[str, Any]:
    return {"number": number, "seed": name, "layer": layer, "what": text}


def _table(outcomes: Counter[tuple[str, str, str]]) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for (name, layer, outcome), number in sorted(outcomes.items()):
        where = "raw" if layer == "raw" else "behind the checksum"
        row = table.setdefault(f"{name}, {where}", {})
        row[outcome] = row.get(outcome, 0) + number
    return table


def keep(report: dict[str, Any], folder: Path) -> None:
    """Write the input of every finding, named by its content, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = seeds()
    for finding in report["findings"]:
        data = mutate(corpus, report["seed"], finding["number"]).data
        suffix = ".rupd" if finding["seed"].startswith("update") else ".rinr"
        name = finding["seed"].replace(" ", "_") + "_" + hashlib.sha256(data).hexdigest()[:10] + suffix
        (folder / name).write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description="Decode mutated payloads and updates under limits.")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="repeat this one input")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of findings")
    parser.add_argument("--out", type=Path, help="write the report here as JSON")
    options = parser.parse_args()
    single = options.only is not None
    report = run(1 if single else options.count, options.seed, first=options.only if single else 0)
    if options.keep is not None:
        keep(report, options.keep)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(report, indent=2) + "\n")
    console = Console()
    totals: Counter[str] = Counter()
    for row in report["outcomes"].values():
        totals.update(row)
    console.print(f"{report['count']:,} inputs, seed {report['seed']}, {report['cpu_seconds']} s: {dict(totals)}")
    for finding in report["findings"][:50]:
        console.print("{number:>9,} {seed} ({layer}): {what}".format(**finding), markup=False)
    return 1 if report["findings"] else 0


if __name__ == "__main__":
    sys.exit(main())
