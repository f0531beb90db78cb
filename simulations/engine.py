"""The simulation engine: Ray workers that play devices, as many at a time as cores, GPUs and memory allow."""

from __future__ import annotations

import logging
import math
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.clientapp import ClientApp

from rinr_flower.errors import ConfigError
from rinr_flower.simulations.client_memory import ClientMemory
from rinr_flower.simulations.client_resources import ClientResources
from rinr_flower.simulations.progress import NOTES, for_people
from rinr_flower.simulations.simulated_grid import SimulatedGrid
from rinr_flower.strategies.encoding import WorkerEncoder
from rinr_flower.workers.actors import RayWorkers
from rinr_flower.workers.local import default_size
from rinr_flower.workers.ray_cluster import RayError, cluster_of, connect, usable_nodes

log = logging.getLogger(NOTES)

_USED_SHARE = 0.95  # of a GPU's memory
CLIENT_BYTES = 2 << 30
"""Memory that a device is expected to need. Where there is so much for each, none is measured first."""


@dataclass(frozen=True)
class Plan:
    """How devices are dealt to workers.

    Attributes
    ----------
    parallel : devices that compute at the same time.
    cpus, gpus : what each reserves.
    gpu_count : GPUs of all machines.
    memory : bytes for workers on each machine.
    """

    parallel: int
    cpus: float
    gpus: float
    gpu_count: int
    memory: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Engine:
    """A simulation that runs.

    Attributes
    ----------
    grid : carries messages to the devices.
    encoder : encodes uploads in the workers that play the devices.
    plan : how many there are at a time.
    """

    grid: SimulatedGrid
    encoder: WorkerEncoder
    plan: Plan


@contextmanager
def simulation(
    app: ClientApp,
    count: int,
    *,
    device: torch.device,
    parallel: int = 0,
    resources: ClientResources = ClientResources(),  # noqa: B008  it is frozen
    encoders: int = 0,
    address: str = "",
    folder: Path | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Iterator[Engine]:
    """Simulate ``count`` devices while it is entered; nothing is left running after it.

    Parameters
    ----------
    app : what the devices run.
    device : where they compute. On ``cuda`` each worker sees the GPU that Ray gives it a share of; ``cuda:1`` gives
        all of them the second GPU of this machine.
    parallel : devices at a time; 0 takes what CPUs, GPUs and memory allow.
    encoders : uploads that are encoded at a time; 0: one per worker.
    address : of a Ray cluster, see :func:`rinr_flower.workers.ray_cluster.connect`.
    folder : must be seen from every machine that plays devices.
    progress : called with the fraction of the start that is done.

    Raises
    ------
    RayError
        If Ray does not start, or no device fits into the cluster.
    ConfigError
        If the cluster cannot give what is asked for.
    """
    check_device(device, address)
    wanted = min(parallel or max(1, int(default_size() / resources.num_cpus)), count)
    progress(0.0)
    own = connect(
        address,
        cpus=max(wanted * resources.num_cpus, 1),
        gpus=_own_gpus(device),
        visible_gpus=None if device.index is None else str(device.index),
    )
    try:
        progress(1.0)
        plan = plan_of(usable_nodes(), count, device, parallel, resources)
        check = None if folder is None else partial(_unseen, str(folder))
        workers = RayWorkers(plan.parallel, cpus=plan.cpus, gpus=plan.gpus, address=address, check=check)
        measure = partial(_fit_into_memory, workers, plan) if _must_measure(plan, device, parallel, resources) else None
        grid = SimulatedGrid(workers, app, count, measure)
        log.info("%d devices, %d at a time, %s", count, plan.parallel, _described(plan, device))
        try:
            yield Engine(grid, WorkerEncoder(workers, encoders or None, device.type), plan)
        finally:
            workers.close()
        log.info("a device took at most %s", grid.memory)
    finally:
        if own:
            _shut_down()


def check_device(device: torch.device, address: str = "") -> None:
    """ConfigError if ``device`` names one GPU of this machine and the devices are played on a cluster."""
    if device.type == "cuda" and device.index is not None and (cluster := cluster_of(address)):
        raise ConfigError(
            f"device {str(device)!r} is a GPU of this machine, but the Ray cluster {cluster!r} deals out its GPUs "
            "itself; give the device 'cuda', or leave the cluster out with RAY_ADDRESS=local"
        )


def plan_of(
    nodes: Sequence[Mapping[str, Any]], count: int, device: torch.device, parallel: int, resources: ClientResources
) -> Plan:
    """How many of ``count`` devices compute at a time on ``nodes`` of Ray, and what each reserves.

    RayError if not even one fits.
    """
    offers = [node["Resources"] for node in nodes]
    cpu_slots = [_whole(offer.get("CPU", 0) / resources.num_cpus) for offer in offers]
    gpu_count = int(sum(offer.get("GPU", 0) for offer in offers))
    gpus = resources.num_gpus
    if gpus is None:
        gpus = 0.0
        if device.type == "cuda":
            if not gpu_count:
                raise RayError("devices compute on CUDA, but no machine of the Ray cluster offers a GPU")
            gpus = _share(math.ceil(min(parallel or sum(cpu_slots), count) / gpu_count))
    slots = sum(
        min(cpus, _whole(offer.get("GPU", 0) / gpus)) if gpus else cpus
        for cpus, offer in zip(cpu_slots, offers, strict=True)
    )
    if not slots:
        there = "; ".join(f"{offer.get('CPU', 0):g} CPUs and {offer.get('GPU', 0):g} GPUs" for offer in offers)
        raise RayError(
            f"no machine of the Ray cluster can give a device {resources.num_cpus:g} CPUs and {gpus:g} GPUs; they have "
            f"{there or 'no CPUs'}; lower client_resources"
        )
    if parallel > slots:
        log.warning("parallel is %d, but the Ray cluster has room for %d devices at a time", parallel, slots)
    memory = tuple(float(offer.get("memory", math.inf)) for offer in offers)
    return Plan(min(parallel or slots, slots, count), resources.num_cpus, gpus, gpu_count, memory)


def _must_measure(plan: Plan, device: torch.device, parallel: int, resources: ClientResources) -> bool:
    """Whether one device must be measured before the others compute."""
    shares_gpus = device.type == "cuda" and resources.num_gpus is None and plan.parallel > plan.gpu_count
    return not parallel and (shares_gpus or plan.parallel * CLIENT_BYTES > sum(plan.memory))


def _fit_into_memory(workers: RayWorkers, plan: Plan, memory: ClientMemory) -> None:
    """Let only as many devices compute at a time as the memory of machines and GPUs has room for."""
    fitting = min(plan.parallel, sum(_whole(there / max(memory.host, 1)) for there in plan.memory))
    gpus = plan.gpus
    if memory.gpu and plan.gpu_count:
        on_one = max(1, int(_USED_SHARE * memory.gpu_available / memory.gpu))
        fitting = min(fitting, on_one * plan.gpu_count)
        gpus = max(gpus, _share(on_one))
    fitting = max(1, fitting)
    log.info("a device takes %s: %d compute at a time", memory, fitting)
    if fitting < plan.parallel:
        workers.resize(fitting, gpus)


def _share(on_one: int) -> float:
    """Share of a GPU for each of so many, as fine as Ray counts."""
    return math.floor(1e4 / on_one) / 1e4


def _whole(number: float) -> int:
    """Rounded down, after 1e-9 is added against floating-point error."""
    return sys.maxsize if number == math.inf else math.floor(number + 1e-9)


def _own_gpus(device: torch.device) -> int:
    """GPUs that a Ray of this process's own deals out."""
    if device.type != "cuda":
        return 0
    return torch.cuda.device_count() if device.index is None else 1


def _described(plan: Plan, device: torch.device) -> str:
    on = f"{plan.gpus:g} of {plan.gpu_count} GPUs each" if plan.gpus else f"{plan.cpus:g} CPUs each"
    return f"{on}, computing on {device.type}"


def _unseen(folder: str) -> str:
    """Why a worker cannot play devices whose files are in ``folder``; empty if it can."""
    if Path(folder).is_dir():
        return ""
    return (
        f"the machine {platform.node()} does not see the run's folder {folder}; on a cluster put it with --out on "
        "a file system that all machines share"
    )


def _shut_down() -> None:
    import ray

    ray.shutdown()


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write Flower's log into a file; the terminal shows only what our own strategies warn about."""
    flower = logging.getLogger("flwr")
    terminal = list(flower.handlers)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    file.setLevel(logging.INFO)
    for handler in terminal:
        handler.addFilter(for_people)
    flower.addHandler(file)
    try:
        yield
    finally:
        flower.removeHandler(file)
        file.close()
        for handler in terminal:
            handler.removeFilter(for_people)
