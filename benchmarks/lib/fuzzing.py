"""The fuzzer: decodes altered payloads and models and applies altered updates, within limits of memory and time.

The worker may take 1 GB of address space more than it has after its imports, and two seconds of processor time an
input. A finding is: an exception that is no RinrError, a worker that dies, an overrun, altered bytes that pass the
checksum and give another picture, and a result that contradicts its own header.
"""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import queue
import resource
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz_inputs import Input, Seed, digest, mutate, seeds, small_model

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import decode
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import RinrError
from rinr_flower.messages.coded_model import MAGIC, open_model, record_around
from rinr_flower.messages.records import arrays_of_record
from rinr_flower.updates import apply_update

from .results import read_result, write_result

MEMORY_BYTES = 1 << 30
SECONDS = 2.0
STALL_CPU_S = 30.0  # processor time after which a worker that does not come back from native code is killed
STALL_WALL_S = 1800.0  # and wall clock, for one that sleeps; on a busy machine a worker may wait long for its turn
NATIVE_PX = 1 << 18  # declared pixels up to which a whole clip is decoded; of larger ones one frame is drawn small
SMALL = (64, 64)
_CHUNK = 200
_CHECKPOINT = 20_000  # inputs after which the report is written


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
    if data.startswith(MAGIC):
        arrays = arrays_of_record(open_model(record_around(data)))
        if any(np.isnan(v).any() for v in arrays.values()):  # infinities may be in a causal mask
            raise FindingError("a coded model gave NaN")
        return hashlib.sha256(b"".join(v.tobytes() for v in arrays.values())).hexdigest()
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


def work(corpus: list[Seed], seed: int, numbers: range, deadly: Mapping[int, str], current: Any, results: Any) -> None:
    """The worker: every input in ``numbers``; a chunk of outcomes at a time goes to ``results``.

    Inputs that ended a worker before are in ``deadly``, with what they did; they are not tried again.
    """
    torch.set_num_threads(1)
    base = small_model()
    wanted = {s.data: digest_of(s.data, base) for s in corpus}
    limit_memory(MEMORY_BYTES)
    chunk: list[tuple[int, str, str, str, str, float, int]] = []
    parent = os.getppid()
    for number in numbers:
        if os.getppid() != parent:  # the run was killed
            return
        current.value = number
        item = mutate(corpus, seed, number)
        if number in deadly:
            outcome: tuple[str, str, float] = ("finding", deadly[number], 0.0)
        else:
            outcome = attempt(item, wanted[item.seed.data], base)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        chunk.append((number, item.seed.name, item.layer, *outcome, peak))
        if len(chunk) == _CHUNK or outcome[0] == "finding" or number == numbers[-1]:
            results.put(chunk)
            chunk = []


class Tally:
    """Counts of outcomes; ``before`` is the report of the part of the run that was done earlier."""

    def __init__(self, corpus: list[Seed], count: int, seed: int, first: int, before: Mapping[str, Any]) -> None:
        self._fixed = {
            "count": count,
            "first": first,
            "seed": seed,
            "corpus": digest(corpus),
            "memory_limit_bytes": MEMORY_BYTES,
            "seconds_limit": SECONDS,
        }
        for name, wanted in self._fixed.items():
            if before and before.get(name) != wanted:
                raise SystemExit(f"the report to resume has {name} {before.get(name)}, this run {wanted}; start anew")
        self.done: int = before.get("done", 0)
        self._cpu_s: float = before.get("cpu_seconds", 0.0)
        self._wall_s: float = before.get("wall_seconds", 0.0)
        self._started = time.monotonic()
        self._slowest: dict[str, Any] = before.get("slowest", {"seconds": 0.0})
        self._largest: dict[str, Any] = before.get("largest", {"peak_resident_bytes": 0})
        self._outcomes: dict[str, Counter[str]] = {k: Counter(v) for k, v in before.get("outcomes", {}).items()}
        self._findings: list[dict[str, Any]] = list(before.get("findings", []))

    def add(self, number: int, name: str, layer: str, outcome: str, text: str, seconds: float, peak: int) -> None:
        """Count one input, after which the worker had had ``peak`` bytes resident at most."""
        where = "raw" if layer == "raw" else "behind the checksum"
        self._outcomes.setdefault(f"{name}, {where}", Counter())[outcome] += 1
        if outcome == "finding":
            self._findings.append({"number": number, "seed": name, "layer": layer, "what": text})
        if seconds > self._slowest["seconds"]:
            self._slowest = {"seconds": seconds, "number": number, "seed": name, "layer": layer}
        if peak > self._largest["peak_resident_bytes"]:
            self._largest = {"peak_resident_bytes": peak, "number": number, "seed": name, "layer": layer}
        self.done += 1

    def report(self, worker: int | None) -> dict[str, Any]:
        """Everything so far as plain values; ``worker`` is the process whose time is not yet among the children's."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self._fixed | {
            "done": self.done,
            "cpu_seconds": round(self._cpu_s + children.ru_utime + children.ru_stime + _cpu_seconds(worker), 1),
            "wall_seconds": round(self._wall_s + time.monotonic() - self._started, 1),
            "slowest": self._slowest,
            "largest": self._largest,
            "outcomes": {name: dict(sorted(self._outcomes[name].items())) for name in sorted(self._outcomes)},
            "findings": self._findings,
        }


def _cpu_seconds(process: int | None) -> float:
    """Processor time of a running process."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(
    count: int,
    seed: int,
    *,
    first: int = 0,
    before: Mapping[str, Any] | None = None,
    checkpoint: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Inputs ``first`` to ``first + count``; a worker that dies or stalls is a finding and the next one goes on.

    ``before`` is the report of an earlier, shorter part of the same run; ``checkpoint`` is given the report from time
    to time.
    """
    corpus, stop = seeds(), first + count
    tally = Tally(corpus, count, seed, first, before or {})
    context = multiprocessing.get_context("fork")
    written, deadly = tally.done, dict[int, str]()
    while (at := first + tally.done) < stop:
        current, results = context.Value(ctypes.c_longlong, at), context.Queue()
        worker = context.Process(
            target=work, daemon=True, args=(corpus, seed, range(at, stop), deadly, current, results)
        )
        worker.start()
        seen, moved, spent = at, time.monotonic(), 0.0
        while first + tally.done < stop:
            try:
                chunk = results.get(timeout=1)
            except queue.Empty:
                if current.value != seen:
                    seen, moved, spent = current.value, time.monotonic(), _cpu_seconds(worker.pid)
                stalled = _cpu_seconds(worker.pid) - spent > STALL_CPU_S or time.monotonic() - moved > STALL_WALL_S
                if stalled:
                    worker.kill()
                if stalled or not worker.is_alive():
                    worker.join()
                    text = "hangs in native code" if stalled else f"the worker ended with code {worker.exitcode}"
                    deadly[current.value] = text
                    break
                continue
            for outcome in chunk:
                tally.add(*outcome)
            if checkpoint is not None and tally.done - written >= _CHECKPOINT:
                written = tally.done
                checkpoint(tally.report(worker.pid))
        worker.join()
    return tally.report(None)


def keep(report: dict[str, Any], folder: Path) -> None:
    """Write the input of every finding, named by its content, into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = seeds()
    for finding in report["findings"]:
        data = mutate(corpus, report["seed"], finding["number"]).data
        suffix = ".rupd" if finding["seed"].startswith("update") else ".rinr"
        name = finding["seed"].replace(" ", "_") + "_" + hashlib.sha256(data).hexdigest()[:10] + suffix
        (folder / name).write_bytes(data)


_FIXED = ("count", "first", "seed", "corpus", "memory_limit_bytes", "seconds_limit")
_CODE = ("rinr_flower.codecs", "rinr_flower.decoding", "rinr_flower.messages.coded_model", "rinr_flower.updates")


def save(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as a result file: a row for each kind of input."""
    write_result(
        path,
        command=f"python benchmarks/fuzz.py --count {report['count']} --seed {report['seed']}",
        code=_CODE,
        settings={name: report[name] for name in _FIXED},
        rows=[{"input": name, **counts} for name, counts in report["outcomes"].items()],
        summary={name: value for name, value in report.items() if name not in (*_FIXED, "outcomes")},
    )


def saved(path: Path) -> dict[str, Any] | None:
    """The report of a result file; None if there is none."""
    found = read_result(path)
    if found is None:
        return None
    outcomes = {row.pop("input"): row for row in found["rows"]}
    return {**found["settings"][0], **found["summary"], "outcomes": outcomes}
