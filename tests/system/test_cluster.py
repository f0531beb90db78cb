"""Simulations and encoders on a Ray cluster of two nodes, on a CPU machine that pretends to have GPUs."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from failing_codec import Failing
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from ray.cluster_utils import Cluster
from small_clips import small_clip
from tiny_scenario import JPEG, TINY

from rinr_flower.errors import ConfigError
from rinr_flower.report import RunRecord
from rinr_flower.simulations.client_resources import ClientResources
from rinr_flower.simulations.engine import Engine, simulation
from rinr_flower.simulations.flower_run import check_gpu_share
from rinr_flower.simulations.scenario import load_scenario
from rinr_flower.strategies.encoding import Upload, encode_here, ray_encoder
from rinr_flower.workers.ray_cluster import RayError

pytestmark = pytest.mark.system

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two machines of two CPUs and one GPU each."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "include_dashboard": False})
    started.add_node(num_cpus=2, num_gpus=1)
    yield started
    ray.shutdown()
    started.shutdown()


def meeting_app(folder: Path, parties: int) -> ClientApp:
    """Devices that wait in a query until so many are there, and say where they are."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        (folder / str(os.getpid())).touch()
        end = time.monotonic() + 60
        while len(list(folder.iterdir())) < parties and time.monotonic() < end:
            time.sleep(0.05)
        where = {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""), "node": ray.get_runtime_context().get_node_id()}
        return Message(RecordDict({"where": ConfigRecord({**where, "pid": os.getpid()})}), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        began = time.time()
        time.sleep(0.2)
        return Message(RecordDict({"when": MetricRecord({"began": began, "ended": time.time()})}), reply_to=message)

    return app


def ask(engine: Engine, kind: str, ttl: float = 60.0) -> list[Message]:
    """One message to every node, and the answers in the order of the nodes."""
    messages = [Message(RecordDict(), node, kind, ttl=ttl) for node in engine.grid.get_node_ids()]
    replies = list(engine.grid.send_and_receive(messages, timeout=120))
    return sorted(replies, key=lambda reply: reply.metadata.src_node_id)


def where(replies: Sequence[Message]) -> list[tuple[Any, ...]]:
    """Node, GPU and process of each answer."""
    found = [reply.content.config_records["where"] for reply in replies]
    return [(record["node"], record["gpu"], record["pid"]) for record in found]


def test_devices_are_dealt_to_all_gpus_and_one_is_measured_first(cluster: Cluster, tmp_path: Path) -> None:
    app = meeting_app(tmp_path, 4)
    with simulation(app, 4, device=torch.device("cuda"), address=cluster.address) as engine:
        assert (engine.plan.parallel, engine.plan.gpus) == (4, 0.5)
        places = where(ask(engine, "query"))
        assert len({pid for *_, pid in places}) == 4
        assert sorted(map(places_of(places).count, set(places_of(places)))) == [2, 2], "two devices on each GPU"
        times = [reply.content.metric_records["when"] for reply in ask(engine, "train")]
        first = min(times, key=lambda record: float(str(record["began"])))
        assert all(record is first or record["began"] >= first["ended"] for record in times)
        assert engine.grid.memory.host > 50e6
    assert not ray.is_initialized()


def places_of(places: list[tuple[Any, ...]]) -> list[tuple[str, str]]:
    return [(node, gpu) for node, gpu, _ in places]


def test_a_share_of_a_gpu_can_be_asked_for(cluster: Cluster, tmp_path: Path) -> None:
    resources = ClientResources(0.5, 0.25)
    with simulation(meeting_app(tmp_path, 8), 20, device=CPU, resources=resources, address=cluster.address) as engine:
        assert (engine.plan.parallel, engine.plan.gpus) == (8, 0.25)


def test_a_device_of_flwr_run_without_a_share_of_the_gpus_says_so(cluster: Cluster) -> None:
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        ask_for = ray.remote(check_gpu_share)
        for device, gpus in (("cpu", 0), ("auto", 0.5), ("cuda", 0.5)):
            ray.get(ask_for.options(num_gpus=gpus).remote(device))
        for device in ("auto", "cuda"):
            with pytest.raises(
                ConfigError, match=r"2 GPUs, but Ray gave this device no share.*client-resources-num-gpus"
            ):
                ray.get(ask_for.options(num_gpus=0).remote(device))
    finally:
        ray.shutdown()


def faulty_app() -> ClientApp:
    """Devices of which partition 1 has a fault, and which count what they were asked in their contexts."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return count(message, context)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1:
            raise ValueError("no such frame")
        return count(message, context)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        if context.node_config["partition-id"] == 1:
            time.sleep(60)
        return count(message, context)

    def count(message: Message, context: Context) -> Message:
        record = context.state.metric_records.setdefault("asked", MetricRecord({"times": 0}))
        record["times"] = int(str(record["times"])) + 1
        return Message(RecordDict({"asked": record}), reply_to=message)

    return app


def test_a_fault_of_a_device_costs_its_answer_alone(cluster: Cluster) -> None:
    with simulation(faulty_app(), 4, device=CPU, parallel=2, address=cluster.address) as engine:
        for number, (kind, code, text) in enumerate(
            [
                ("query", 8, "its process died"),
                ("train", 2, "ValueError: no such frame"),
                ("evaluate", 8, "longer than"),
            ]
        ):
            replies = ask(engine, kind, ttl=60.0 if kind != "evaluate" else 8.0)
            assert [reply.has_error() for reply in replies] == [False, True, False, False]
            assert replies[1].error.code == code
            assert text in str(replies[1].error.reason)
            counted = [reply.content.metric_records["asked"]["times"] for reply in replies if not reply.has_error()]
            assert counted == [number + 1] * 3, "contexts last from message to message, in whatever process"


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def lasting_app(folder: Path) -> ClientApp:
    """Devices that train until the file ``go`` is there."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        (folder / f"{ray.get_runtime_context().get_node_id()} {os.getpid()}").touch()
        end = time.monotonic() + 60
        while not (folder / "go").exists() and time.monotonic() < end:
            time.sleep(0.05)
        return Message(RecordDict(), reply_to=message)

    return app


def test_a_machine_that_leaves_costs_what_it_was_doing(cluster: Cluster, tmp_path: Path) -> None:
    leaving = cluster.add_node(num_cpus=1, resources={"leaving": 1})
    with simulation(lasting_app(tmp_path), 8, device=CPU, address=cluster.address) as engine:
        assert engine.plan.parallel == 5
        messages = [Message(RecordDict(), node, "train", ttl=90) for node in engine.grid.get_node_ids()]
        ids = set(engine.grid.push_messages(messages))
        replies: list[Message] = []

        def at_work() -> bool:
            replies.extend(engine.grid.pull_messages(ids))
            return len(list(tmp_path.iterdir())) == 5

        until(at_work)
        assert not replies
        cluster.remove_node(leaving)
        (tmp_path / "go").touch()

        def answered() -> bool:
            replies.extend(engine.grid.pull_messages(ids))
            return len(replies) == 8

        until(answered)
        lost = [reply.error for reply in replies if reply.has_error()]
        assert len(lost) == 1
        assert lost[0].reason == "its machine has left the Ray cluster"
        assert not any(reply.has_error() for reply in ask(engine, "train")), "the others go on"


def test_a_machine_that_leaves_costs_an_encoder_nothing(cluster: Cluster, tmp_path: Path) -> None:
    leaving = cluster.add_node(num_cpus=1)
    uploads = [Upload.of(small_clip("slow", seed)) for seed in range(24)]
    codec = Failing(tries=str(tmp_path / "tries"))
    encoder = ray_encoder(5, address=cluster.address)
    made: dict[int, bytes | None] = {}
    for row in encoder(codec, uploads, seed=0, device="cpu"):
        if not made:
            cluster.remove_node(leaving)
        made[row.index] = row.payload
    encoder.workers.close()
    ray.shutdown()
    assert made == {row.index: row.payload for row in encode_here(codec, uploads, seed=0, device="cpu")}


def test_a_cluster_without_free_cpus_is_waited_for_and_said(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rinr_flower.workers.actors._EXPLAIN_S", 1.0)
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)

    class Hog:  # somebody else's work on the cluster
        def here(self) -> None:
            pass

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        others = [ray.remote(Hog).options(num_cpus=2).remote() for _ in range(2)]
        ray.get([other.here.remote() for other in others])
        with simulation(faulty_app(), 1, device=CPU) as engine:
            message = Message(RecordDict(), next(iter(engine.grid.get_node_ids())), "query", ttl=60)
            ids = set(engine.grid.push_messages([message]))
            until(lambda: bool(list(engine.grid.pull_messages(ids))) or "waiting for Ray" in caplog.text)
            assert "a worker needs 1 CPUs and 0 GPUs; free are 0 of 4 CPUs" in caplog.text
            for other in others:
                ray.kill(other)
            until(lambda: bool(list(engine.grid.pull_messages(ids))))
    finally:
        ray.shutdown()


def test_a_machine_that_does_not_see_the_run_is_one_sentence(cluster: Cluster) -> None:
    gone = Path("/nowhere/at/all")
    with (
        simulation(ClientApp(), 2, device=CPU, address=cluster.address, folder=gone) as engine,
        pytest.raises(RayError, match=r"does not see the run's folder /nowhere/at/all; on a cluster put it with --out"),
    ):
        ask(engine, "query")


def test_the_command_runs_on_the_cluster_that_is_named(cluster: Cluster, tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    load_scenario("default", {**TINY, "codec": JPEG, "rounds": 1, "ray_address": ""}).save(file)
    done = subprocess.run(
        [Path(sys.executable).with_name("flower-simulation"), f"--config={file}", "--out=run", "--set=encoders=2"],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": cluster.address},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = RunRecord.load(tmp_path / "run")
    assert not record.failures
    assert "3 at a time" in (tmp_path / "run" / "flower.log").read_text(encoding="utf-8"), "more than one node has"


def test_a_file_that_another_ray_left_behind_hurts_nobody() -> None:
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as temporary:  # Ray's sockets need a short path
        (Path(temporary) / "ray").mkdir()
        (Path(temporary) / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        code = "from rinr_flower.workers.ray_cluster import connect; print(connect(cpus=1), connect(cpus=1))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAY_TMPDIR": temporary},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stdout.split() == ["True", "False"], done.stderr
