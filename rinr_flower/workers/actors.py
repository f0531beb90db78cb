"""Workers as Ray actors, on one machine or a cluster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rinr_flower.workers.pool import Job, Worker, WorkerDiedError, Workers
from rinr_flower.workers.ray_cluster import RayError, connect

log = logging.getLogger("flwr.rinr_flower")

_EXPLAIN_S = 30.0


class RayWorkers(Workers):
    """Ray actors with a share of the cluster's CPUs and GPUs each.

    Parameters
    ----------
    size : how many.
    cpus, gpus : what each reserves. Ray shows an actor only the GPUs that it has a share of.
    address : the cluster, see :func:`rinr_flower.workers.ray_cluster.connect`.
    check : called in every new worker; the text that it returns says why that worker cannot be used.
    """

    def __init__(
        self,
        size: int,
        *,
        cpus: float = 1.0,
        gpus: float = 0.0,
        address: str = "",
        check: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(size)
        self.cpus = cpus
        self.gpus = gpus
        self.address = address
        self._check = check
        self._explain_at = float("inf")

    def resize(self, size: int, gpus: float) -> None:
        """End all workers, which must be idle; from now on there are up to ``size``, with ``gpus`` each."""
        self.close()
        self.size, self.gpus = size, gpus

    def _start(self) -> Worker:
        connect(self.address, cpus=self.size * self.cpus, gpus=self.size * self.gpus)
        import ray

        if not self._workers:
            self._explain_at = time.monotonic() + _EXPLAIN_S
        actor = ray.remote(_Actor).options(num_cpus=self.cpus, num_gpus=self.gpus).remote()
        return _RayWorker(actor=actor, waits_for=actor.check.remote(self._check))

    def _give(self, worker: Worker, job: Job) -> None:
        assert isinstance(worker, _RayWorker)
        worker.waits_for = worker.actor.call.remote(job.function, job.args)

    def _wait(self, workers: Sequence[Worker], timeout: float) -> Iterable[Worker]:
        import ray

        if not any(worker.ready for worker in self._workers):
            self._explain_waiting()
        by_reference = {worker.waits_for: worker for worker in workers if isinstance(worker, _RayWorker)}
        ready, _ = ray.wait(list(by_reference), num_returns=1, timeout=timeout)
        return [by_reference[reference] for reference in ready]

    def _explain_waiting(self) -> None:
        """Say what workers wait for, every half a minute: resources that others hold."""
        import ray

        if time.monotonic() < self._explain_at:
            return
        self._explain_at = time.monotonic() + _EXPLAIN_S
        free, all_ = ray.available_resources(), ray.cluster_resources()
        log.warning(
            "waiting for Ray: a worker needs %g CPUs and %g GPUs; free are %g of %g CPUs and %g of %g GPUs",
            *(self.cpus, self.gpus),
            *(resources.get(kind, 0) for kind in ("CPU", "GPU") for resources in (free, all_)),
        )

    def _receive(self, worker: Worker) -> tuple[Any, BaseException | None]:
        import ray

        assert isinstance(worker, _RayWorker)
        try:
            value, error = ray.get(worker.waits_for)
        except ray.exceptions.RayError as death:
            raise WorkerDiedError(_how(death)) from death
        return value, error

    def _end(self, worker: Worker) -> None:
        import ray

        assert isinstance(worker, _RayWorker)
        if ray.is_initialized():
            ray.kill(worker.actor)


@dataclass(eq=False, kw_only=True)
class _RayWorker(Worker):
    """One actor and the reference to what it does."""

    actor: Any
    waits_for: Any


class _Actor:
    """What runs in a worker's process."""

    def check(self, check: Callable[[], str] | None) -> tuple[None, BaseException | None]:
        import cv2
        import torch

        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        refused = "" if check is None else check()
        return None, RayError(refused) if refused else None

    def call(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, BaseException | None]:
        try:
            return function(*args), None
        except Exception as error:
            return None, error


def _how(death: BaseException) -> str:
    """Why Ray says that a worker is gone, in one sentence."""
    import ray

    lines = [line.strip() for line in str(death).splitlines() if line.strip()]
    if isinstance(death, ray.exceptions.OutOfMemoryError):
        return "its machine had no memory left, and Ray ended it; run fewer at a time"
    if isinstance(death, ray.exceptions.NodeDiedError) or any("node" in line and "die" in line for line in lines):
        return "its machine has left the Ray cluster"
    said = next((line for line in lines if "cause" in line or "Error" in line), lines[0] if lines else "")
    return f"its process died ({type(death).__name__}: {said[:160]})"
