"""The one place that starts Flower's simulation engine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from rinr_flower.simulations.stopping import StopSignals

QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

OBJECT_STORE_BYTES = 512 * 1024 * 1024  # messages in flight: a model and payloads for each client at work


def simulate(
    server: ServerApp, client: ClientApp, nodes: int, *, parallel: int, device: torch.device, stop: StopSignals
) -> None:
    """Run both apps in this process and Ray's, ``parallel`` clients at a time, one CPU thread each.

    On CUDA the clients share the accelerator.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray
    from flwr.simulation import run_simulation

    gpus = 1 / parallel if device.type == "cuda" else 0.0
    ray.init(
        runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}},
        num_cpus=parallel,
        num_gpus=1 if gpus else 0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=OBJECT_STORE_BYTES,
    )
    with stop:  # after Ray, which sets handlers of its own
        run_simulation(
            server_app=server,
            client_app=client,
            num_supernodes=nodes,
            backend_config={"client_resources": {"num_cpus": 1, "num_gpus": gpus}},
        )


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Flower's log goes into a file; the terminal shows only what our own strategies warn about."""
    flower = logging.getLogger("flwr")
    terminal = list(flower.handlers)
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    file.setLevel(logging.INFO)
    for handler in terminal:
        handler.addFilter(_ours)
    flower.addHandler(file)
    try:
        yield
    finally:
        flower.removeHandler(file)
        file.close()
        for handler in terminal:
            handler.removeFilter(_ours)


def _ours(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING and record.name.startswith("flwr.rinr_flower")
