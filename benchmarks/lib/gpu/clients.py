"""Clients: processes that share one device, as Ray's actors do, against one process that does all their work."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import torch

from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Yolo

from ..results import Row
from .case import Case, NotHereError
from .setting import Setting

BATCH = 8
WAIT_S = 90.0  # for all clients to be ready, or done


def round_of(setting: Setting, payload: bytes) -> Row:
    """One client's round: open what arrived, train on it, evaluate."""
    if setting.cuda:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    store = FrameStore([payload], device=setting.device)
    detector = Yolo(store.class_names(0), device=setting.device)
    opened = time.perf_counter()
    scale = setting.scale
    log = detector.fit(store, range(len(store)), steps=scale.client_steps, batch=BATCH, size=scale.client_size)
    detector.evaluate(store, range(len(store)), size=scale.client_size)
    row: Row = {"open_s": opened - start, "fit_s": time.perf_counter() - opened, "loss": log.losses[-1]}
    if setting.cuda:
        torch.cuda.synchronize()
        row["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        row["reserved_mib"] = torch.cuda.max_memory_reserved() / 2**20
    return row


def warm_up(setting: Setting, payload: bytes, clients: int) -> None:
    """What happens once in a process: libraries, kernels, its share of the device's memory and of the threads."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // clients))
    if setting.cuda:
        torch.cuda.set_per_process_memory_fraction(1 / clients)
    round_of(replace(setting, quick=True), payload)


def client(setting: Setting, payload: bytes, clients: int, ready: Any, done: Any, answers: Any) -> None:
    """A process: be ready, do a round when all are, and stay until all are done, so that memory is seen together."""
    try:
        warm_up(setting, payload, clients)
        ready.wait(WAIT_S)
        row = round_of(setting, payload)
        done.wait(WAIT_S)
        row["device_used_mib"] = used_mib(setting)
    except Exception as error:  # the parent waits for an answer of each
        ready.abort()
        done.abort()
        answers.put({"failed": f"{type(error).__name__}: {error}"})
        return
    answers.put(row)
    done.wait(WAIT_S)


def used_mib(setting: Setting) -> float | None:
    """Memory of the whole device that is taken, by any process; None on the processor."""
    if not setting.cuda:
        return None
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def summary(rows: list[Row], seconds: float, before_mib: float | None) -> Row:
    """Figures over the clients."""
    if failed := [row["failed"] for row in rows if "failed" in row]:
        raise RuntimeError(f"{len(failed)} of {len(rows)} clients failed: {min(failed, key=len)}")
    found: Row = {
        "clients": len(rows),
        "round_s": seconds,
        "fit_s_median": sorted(r["fit_s"] for r in rows)[len(rows) // 2],
    }
    if "peak_mib" in rows[0]:
        found["peak_mib_a_client"] = max(row["peak_mib"] for row in rows)
        found["reserved_mib_a_client"] = max(row["reserved_mib"] for row in rows)
    if before_mib is not None and rows[0].get("device_used_mib") is not None:
        used = max(row["device_used_mib"] for row in rows)
        found["device_mib"] = used - before_mib
        found["device_mib_a_client"] = (used - before_mib) / len(rows)
    return found


def processes(setting: Setting) -> Row:
    """All clients at once, each in a process of its own with its fraction of the device."""
    clients, payloads = setting.scale.clients, setting.payloads("scene")
    before = used_mib(setting)
    context = get_context("spawn")
    ready, done, answers = context.Barrier(clients + 1), context.Barrier(clients), context.Queue()
    started = [
        context.Process(
            target=client, args=(setting, payloads[i % len(payloads)], clients, ready, done, answers), daemon=True
        )
        for i in range(clients)
    ]
    for process in started:
        process.start()
    try:
        with suppress(threading.BrokenBarrierError):  # the client that broke it says why
            ready.wait(WAIT_S)
        start = time.perf_counter()
        rows = [answers.get(timeout=WAIT_S) for _ in started]
        took = time.perf_counter() - start
    finally:
        for process in started:
            process.join(5)
            process.kill()
    return summary(rows, took, before)


def one_process(setting: Setting) -> Row:
    """The same rounds in one process, one after the other."""
    clients, payloads = setting.scale.clients, setting.payloads("scene")
    threads = torch.get_num_threads()
    round_of(replace(setting, quick=True), payloads[0])
    start = time.perf_counter()
    rows = [round_of(setting, payloads[i % len(payloads)]) for i in range(clients)]
    took = time.perf_counter() - start
    torch.set_num_threads(threads)
    return summary(rows, took, None)


def ray_actors(setting: Setting) -> Row:
    """The same rounds in Ray actors that ask for a fraction of a GPU each, as Flower's simulation starts them."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise NotHereError(f"ray cannot be imported ({error}): run this part where Flower is installed") from error
    clients, payloads = setting.scale.clients, setting.payloads("scene")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}}
    ray.init(
        num_cpus=clients, num_gpus=int(setting.cuda), include_dashboard=False, log_to_driver=False,
        runtime_env=environment, configure_logging=False,
    )  # fmt: skip
    try:

        class Actor:
            def ready(self) -> None:
                warm_up(setting, payloads[0], clients)

            def round(self, payload: bytes) -> Row:
                return {**round_of(setting, payload), "device_used_mib": used_mib(setting)}

        remote = ray.remote(num_cpus=1, num_gpus=1 / clients if setting.cuda else 0)(Actor)
        actors = [remote.remote() for _ in range(clients)]
        ray.get([a.ready.remote() for a in actors], timeout=WAIT_S)
        start = time.perf_counter()
        rows = ray.get([a.round.remote(payloads[i % len(payloads)]) for i, a in enumerate(actors)], timeout=WAIT_S)
        return summary(rows, time.perf_counter() - start, None)
    finally:
        ray.shutdown()


def cases(setting: Setting) -> Iterator[Case]:
    """One process first: what it leaves on the device is the same for the processes after it."""
    yield Case("one process", partial(one_process, setting))
    yield Case(f"{setting.scale.clients} processes", partial(processes, setting))
    yield Case(f"{setting.scale.clients} Ray actors", partial(ray_actors, setting))
