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
from rinr_flower.strategies.encoding import Upload, encode_here, ray_encoder

pytestmark = pytest.mark.system


def test_tasks_do_not_wait_for_the_cpus_that_clients_hold() -> None:
    import ray

    generator = np.random.default_rng(0)
    frames = [Frame(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)) for _ in range(5)]
    uploads = [Upload.of(Clip(str(i), (frame,) * 16)) for i, frame in enumerate(frames)]
    codec = codecs.create("jpeg", quality=30)
    free: list[float] = []
    encoded: dict[int, bytes | None] = {}
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        end = time.monotonic() + 60
        while not (ray.is_initialized() and not ray.available_resources().get("CPU", 0)) and time.monotonic() < end:
            time.sleep(0.2)
        free.append(ray.available_resources().get("CPU", 0))
        for row in ray_encoder(2, cpus=0)(codec, uploads, seed=0, device="cpu"):
            encoded[row.index] = row.payload

    simulate(server, ClientApp(), 2, parallel=2, device=torch.device("cpu"), stop=StopSignals())
    assert free == [0]
    assert encoded == {row.index: row.payload for row in encode_here(codec, uploads, seed=0, device="cpu")}
