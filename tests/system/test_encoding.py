"""The Ray encoder inside Flower's simulation, whose clients hold every CPU that Ray has."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from rinr_flower.codecs import codecs
from rinr_flower.frames import Clip, Frame
from rinr_flower.simulations.engine import simulate
from rinr_flower.simulations.stopping import StopSignals
from rinr_flower.strategies.encoding import RayEncoder, encode_here

pytestmark = pytest.mark.system


def test_tasks_do_not_wait_for_the_cpus_that_clients_hold() -> None:
    import ray

    generator = np.random.default_rng(0)
    clips = [Clip(str(i), (Frame(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)),) * 16) for i in range(5)]
    codec = codecs.create("jpeg", quality=30)
    free: list[float] = []
    encoded: dict[int, bytes] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        end = time.monotonic() + 60
        while not (ray.is_initialized() and not ray.available_resources().get("CPU", 0)) and time.monotonic() < end:
            time.sleep(0.2)
        free.append(ray.available_resources().get("CPU", 0))
        for index, payload, _ in RayEncoder(2, cpus=0)(codec, clips, seed=0, device="cpu", progress=None):
            encoded[index] = payload

    simulate(server, ClientApp(), 2, parallel=2, device=torch.device("cpu"), stop=StopSignals())
    assert free == [0]
    assert encoded == {i: p for i, p, _ in encode_here(codec, clips, seed=0, device="cpu", progress=None)}
