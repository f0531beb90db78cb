"""Connecting to Ray: an own one, one that runs in this process already, or a cluster that the user names."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rinr_flower.errors import RinrError

LOCAL = "local"
ADDRESS = "RAY_ADDRESS"
OBJECT_STORE_BYTES = 512 * 1024 * 1024  # of a Ray that is started here: messages and clips in flight
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
_CONNECT_S = 5.0


class RayError(RinrError):
    """Ray does not start, or the cluster cannot be reached or used."""


def connect(address: str = "", *, cpus: float, gpus: float = 0, visible_gpus: str | None = None) -> bool:
    """Connect this process to Ray; True if this call did it, False if it was connected already.

    Parameters
    ----------
    address : ``HOST:PORT`` or ``auto`` joins a running cluster, ``local`` starts a Ray of this process's own. Empty
        takes the environment variable RAY_ADDRESS, and ``local`` where that is not set. A file that an earlier
        ``ray start`` left behind is read for ``auto`` only.
    cpus, gpus : resources of an own Ray; a cluster has its own.
    visible_gpus : numbers of the GPUs that an own Ray deals out, as in CUDA_VISIBLE_DEVICES; None: all.

    Raises
    ------
    RayError
        If that fails, with what to do about it.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        return False
    named = address or os.environ.get(ADDRESS, "") or LOCAL
    options: dict[str, Any] = {
        "runtime_env": {"env_vars": _worker_environment()},
        "log_to_driver": False,
        "logging_level": logging.ERROR,
    }
    if named == LOCAL:
        options |= {"num_cpus": cpus, "num_gpus": gpus, "include_dashboard": False}
        options |= {"object_store_memory": OBJECT_STORE_BYTES}
        with _variable("CUDA_VISIBLE_DEVICES", visible_gpus):
            _init(ray, "local", options, "Ray does not start on this machine", "its log is in /tmp/ray/session_latest")
        return True
    check_reachable(named)
    source = f"the Ray cluster {named!r} (from {'the scenario' if address else ADDRESS})"
    way_out = f"start it with 'ray start --head', or leave it out with {ADDRESS}={LOCAL}"
    _init(ray, named, options, f"{source} cannot be joined", way_out)
    return True


def cluster_of(address: str = "") -> str | None:
    """The running cluster that :func:`connect` would join; None if it would start a Ray of its own."""
    named = address or os.environ.get(ADDRESS, "") or LOCAL
    return None if named == LOCAL else named


def usable_nodes() -> list[Mapping[str, Any]]:
    """Nodes of the cluster that are alive and offer CPUs, as Ray describes them."""
    import ray

    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0]


def _init(ray: Any, address: str, options: Mapping[str, Any], failed: str, way_out: str) -> None:
    try:
        ray.init(address=address, **options)
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise RayError(f"{failed}: {text[:300]}; {way_out}") from error


def check_reachable(address: str) -> None:
    """RayError unless something answers at ``address``: Ray itself waits for minutes and then ends the process."""
    if address == "auto":
        return
    if "://" in address:
        raise RayError(
            f"{address!r} is an address of a remote Ray client, which does not see this machine's files; "
            "run on a node of the cluster and name it HOST:PORT or 'auto'"
        )
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise RayError(f"{address!r} is no address of a Ray cluster; give HOST:PORT, 'auto' or 'local'")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise RayError(
            f"no Ray cluster answers at {address}: {error}; start it with 'ray start --head', or leave it out with "
            f"{ADDRESS}={LOCAL}"
        ) from error


def _worker_environment() -> dict[str, str]:
    """Variables of the workers: they import what this process can import."""
    passed = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    if "GOMP_SPINCOUNT" in os.environ:
        passed["GOMP_SPINCOUNT"] = os.environ["GOMP_SPINCOUNT"]
    return passed


@contextmanager
def _variable(name: str, value: str | None) -> Iterator[None]:
    """A variable of this process's environment for a while; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None:
            os.environ.pop(name)
        if value is not None and before is not None:
            os.environ[name] = before
