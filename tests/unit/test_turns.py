"""How long messages live in a simulation, where devices wait for each other, and what its record says and holds."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Message
from in_process_grid import InProcessGrid
from small_clips import small_clip
from tiny_scenario import TINY

from rinr_flower.codecs import codecs
from rinr_flower.errors import DataError
from rinr_flower.frames import Clip
from rinr_flower.messages.training import Training
from rinr_flower.report import RunRecord
from rinr_flower.simulations.fleet import equip, shares_of
from rinr_flower.simulations.main_job import build_strategy, main_job
from rinr_flower.simulations.record import run_record
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.scenario import Scenario, load_scenario
from rinr_flower.simulations.so_far import read_so_far, record_so_far
from rinr_flower.strategies.encoding import Encoder, WorkerEncoder, encode_here
from rinr_flower.strategies.keeping import Blob
from rinr_flower.strategies.memory import Shared
from rinr_flower.workers.local import LocalWorkers

pytestmark = pytest.mark.usefixtures("task_identity")


class Timed(InProcessGrid):
    """Keeps how long the first messages live, and breaks down."""

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.lives = [message.metadata.ttl for message in messages]
        raise DataError("no link")


def test_messages_live_so_many_times_longer_as_there_are_turns(tmp_path: Path) -> None:
    scenario = load_scenario("default", {**TINY, "rounds": 1, "timeout_s": 7, "out": str(tmp_path / "run")})
    run = RunFolder.create(scenario.out)
    grid = started(scenario, run, turns=5)
    assert grid.lives == [35.0] * 3


def started(scenario: Scenario, run: RunFolder, turns: int = 1) -> Timed:
    """The grid of a run that breaks down with its first messages."""
    folders = equip(shares_of(scenario), run.devices)
    grid = Timed(dict.fromkeys(range(3), lambda message, context: None))
    with pytest.raises(DataError, match="no link"):
        main_job(grid, scenario, run, folders, lambda what, done: None, turns=turns)
    return grid


def test_a_run_that_goes_on_is_not_finished_any_more(tmp_path: Path) -> None:
    scenario = load_scenario("default", {**TINY, "out": str(tmp_path / "run")})
    run = RunFolder.create(scenario.out)
    RunRecord(scenario={"rounds": 1}).save(run.path)
    (run.path / "report.html").touch()
    assert read_so_far(run.path).finished
    started(scenario, run)
    assert not read_so_far(run.path).finished
    assert (run.path / "report.html").exists(), "until there is a new one"


@pytest.mark.parametrize(("log", "made"), [([], 0), (["tensorboard"], 2)])
def test_a_record_of_the_rounds_so_far_is_made_only_for_trackers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str], made: int
) -> None:
    if log:
        pytest.importorskip("tensorboard")
    records: list[RunRecord] = []

    def counted(*args: Any) -> RunRecord:
        records.append(record_so_far(*args))
        return records[-1]

    monkeypatch.setattr("rinr_flower.simulations.main_job.record_so_far", counted)
    scenario = load_scenario("default", {**TINY, "log": log, "out": str(tmp_path / "run")})
    run = RunFolder.create(scenario.out)
    started(scenario, run)
    assert run.has_rounds()
    assert len(records) == made, "at the start, and when a round has been saved"


@pytest.mark.parametrize(
    ("encoder", "width"),
    [
        (WorkerEncoder(LocalWorkers(3), 8), 3),
        (WorkerEncoder(LocalWorkers(3), 2), 2),
        (WorkerEncoder(LocalWorkers(3)), 3),
        (encode_here, 1),
    ],
)
def test_the_record_says_how_many_encoded_at_the_same_time(tmp_path: Path, encoder: Encoder, width: int) -> None:
    scenario = load_scenario("default", {**TINY, "encoders": 8, "out": str(tmp_path / "run")})
    run = RunFolder.create(scenario.out)
    strategy = build_strategy(scenario, run, encoder=encoder)
    record = run_record(scenario, run, None, strategy, {}, Training(), lambda what, done: None)
    assert record.environment["encoders"] == width


@pytest.mark.parametrize(("rivals", "held"), [(["jpeg"], 2), ([], 0)])
def test_the_record_holds_the_frames_of_only_the_clips_that_rivals_are_measured_on(
    tmp_path: Path, rivals: list[str], held: int
) -> None:
    changes = {"rivals": rivals, "rival_clips": 2, "out": str(tmp_path / "run")}
    scenario = load_scenario("default", {**TINY, **changes})
    run = RunFolder.create(scenario.out)
    strategy = build_strategy(scenario, run, encoder=encode_here)
    for number in range(8):
        blob = Blob.of(codecs.create("jpeg").encode(small_clip(f"street {number}", number)))
        strategy.shared.append(Shared(1, "device-0", f"street {number}", 1, blob, blob, 0.0))
    alive: list[int] = []

    def progress(what: str, done: float) -> None:
        if what == "quality":
            alive.append(sum(type(item) is Clip and item.name.startswith("street") for item in gc.get_objects()))

    record = run_record(scenario, run, None, strategy, {}, Training(), progress)
    assert len(record.payloads) == len(alive) == 8
    assert [row.clip for row in record.rivals] == [f"street {number}" for number in range(held)]
    assert max(alive) <= held + 1, "those, and the one that is measured"
