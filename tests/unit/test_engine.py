"""How a simulation deals devices to machines: CPUs, GPUs and memory, without starting Ray."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import torch

from rinr_flower.errors import ConfigError
from rinr_flower.simulations.client_memory import ClientMemory, out_of_memory
from rinr_flower.simulations.client_resources import ClientResources
from rinr_flower.simulations.engine import _fit_into_memory, _must_measure, check_device, plan_of
from rinr_flower.simulations.scenario import load_scenario
from rinr_flower.workers.actors import RayWorkers
from rinr_flower.workers.ray_cluster import RayError, cluster_of, connect

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
GIB = 1 << 30


def node(cpus: float, gpus: float = 0, memory: float = 64 * GIB) -> dict[str, Any]:
    return {"Resources": {"CPU": cpus, "memory": memory, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("nodes", "count", "device", "parallel", "resources", "expected"),
    [
        ([node(2)], 10, CPU, 0, ClientResources(), (2, 1, 0)),
        ([node(16)], 10, CPU, 0, ClientResources(), (10, 1, 0)),
        ([node(3), node(5)], 10, CPU, 0, ClientResources(2), (3, 2, 0)),  # no device spans two machines
        ([node(1)], 10, CPU, 0, ClientResources(0.25), (4, 0.25, 0)),
        ([node(8)], 10, CPU, 3, ClientResources(), (3, 1, 0)),
        ([node(16, 2)], 10, CUDA, 0, ClientResources(), (10, 1, 0.2)),  # all GPUs, five devices on each
        ([node(16, 8)], 4, CUDA, 0, ClientResources(), (4, 1, 1)),
        ([node(32, 1)], 3, CUDA, 0, ClientResources(), (3, 1, 0.3333)),
        ([node(32, 1)], 20, CUDA, 0, ClientResources(1, 0.25), (4, 1, 0.25)),
        ([node(4, 1), node(4)], 20, CUDA, 0, ClientResources(1, 0.5), (2, 1, 0.5)),
        ([node(8, 2)], 8, CPU, 0, ClientResources(1, 0.5), (4, 1, 0.5)),
    ],
)
def test_devices_are_dealt_to_machines(
    nodes: list[dict[str, Any]],
    count: int,
    device: torch.device,
    parallel: int,
    resources: ClientResources,
    expected: tuple[int, float, float],
) -> None:
    plan = plan_of(nodes, count, device, parallel, resources)
    assert (plan.parallel, plan.cpus, plan.gpus) == expected


@pytest.mark.parametrize(
    ("nodes", "device", "resources", "text"),
    [
        ([node(2)], CPU, ClientResources(4), "can give a device 4 CPUs and 0 GPUs; they have 2 CPUs and 0 GPUs"),
        ([node(2)], CUDA, ClientResources(), "no machine of the Ray cluster offers a GPU"),
        ([node(2), node(1, 1)], CUDA, ClientResources(2, 1), "2 CPUs and 0 GPUs; 1 CPUs and 1 GPUs; lower"),
        ([], CPU, ClientResources(), "they have no CPUs"),
    ],
)
def test_a_device_that_fits_nowhere_is_one_sentence(
    nodes: list[dict[str, Any]], device: torch.device, resources: ClientResources, text: str
) -> None:
    with pytest.raises(RayError, match=text):
        plan_of(nodes, 4, device, 0, resources)


def test_a_device_is_measured_where_memory_may_be_short() -> None:
    little, gpus = [node(64, memory=16 * GIB)], [node(64, 2)]
    plain = ClientResources()
    for nodes, device, parallel, resources, expected in (
        ([node(2)], CPU, 0, plain, False),
        (little, CPU, 0, plain, True),
        (little, CPU, 64, plain, False),  # the user says how many
        (gpus, CUDA, 0, plain, True),
        (gpus, CUDA, 0, ClientResources(1, 0.1), False),
        ([node(64, 16)], CUDA, 0, plain, False),  # a GPU for each
    ):
        plan = plan_of(nodes, 10, device, parallel, resources)
        assert _must_measure(plan, device, parallel, resources) is expected


def test_as_many_devices_compute_as_memory_has_room_for() -> None:
    plan = plan_of([node(64, 2)], 40, CUDA, 0, ClientResources())
    assert (plan.parallel, plan.gpus) == (40, 0.05)
    workers = RayWorkers(plan.parallel, gpus=plan.gpus)
    _fit_into_memory(workers, plan, ClientMemory(GIB, 20 * GIB, 80 * GIB))
    assert (workers.size, workers.gpus) == (6, 0.3333)  # three on each GPU
    _fit_into_memory(workers, plan, ClientMemory(13 * GIB, 20 * GIB, 80 * GIB))
    assert workers.size == 4
    plan = plan_of([node(64, memory=16 * GIB), node(64, memory=3 * GIB)], 40, CPU, 0, ClientResources())
    workers = RayWorkers(plan.parallel)
    _fit_into_memory(workers, plan, ClientMemory(2 * GIB))
    assert (workers.size, workers.gpus) == (9, 0)
    _fit_into_memory(workers, plan, ClientMemory(99 * GIB))
    assert workers.size == 1


def test_too_little_memory_is_a_sentence_that_helps() -> None:
    assert "the GPU has no memory left" in out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried"))
    assert "--set parallel=N" in out_of_memory(MemoryError())
    assert out_of_memory(ValueError()) == ""


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"client_resources": 2}, "'client_resources' is 2; it holds keys and values"),
        ({"client_resources.num_cpus": 0}, "num_cpus is 0"),
        ({"client_resources.num_gpus": 1.5}, "num_gpus is 1.5"),
        ({"client_resources.cpus": 1}, "no option 'cpus'; known: num_cpus, num_gpus"),
    ],
)
def test_resources_are_checked(values: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load_scenario("default", values)
    assert load_scenario("default", {"client_resources.num_gpus": "0.5"}).resources() == ClientResources(1, 0.5)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{closed_port()}"
    with pytest.raises(RayError, match=f"no Ray cluster answers at {address}: .*refused; start it with 'ray start"):
        connect(address, cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(RayError, match="leave it out with RAY_ADDRESS=local"):
        connect(cpus=1)
    for odd in ("here", "host:", ":6379", "host:99999x"):
        with pytest.raises(RayError, match="is no address of a Ray cluster"):
            connect(odd, cpus=1)
    with pytest.raises(RayError, match="remote Ray client"):
        connect("ray://host:10001", cpus=1)


def test_one_gpu_of_this_machine_is_refused_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert cluster_of() == "10.0.0.1:6379"
    with pytest.raises(ConfigError, match="'cuda:1' is a GPU of this machine"):
        check_device(torch.device("cuda:1"))
    check_device(torch.device("cuda"))
    assert cluster_of("local") is None
    check_device(torch.device("cuda:1"), "local")
