"""What ``flower-simulation`` shows off a terminal, and the folders that it goes on in."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import run_here
from tiny_scenario import TINY

from rinr_flower.errors import ConfigError
from rinr_flower.simulations import progress
from rinr_flower.simulations.activity import noted
from rinr_flower.simulations.fleet import equipped_in
from rinr_flower.simulations.progress import NOTES, Terminal
from rinr_flower.simulations.run_folder import RunFolder, check_unused, held
from rinr_flower.simulations.runner import _begun, run_scenario
from rinr_flower.simulations.scenario import Scenario, load_scenario
from rinr_flower.simulations.so_far import read_so_far
from rinr_flower.strategies.memory import FogMemory


def test_stages_have_lines_and_silence_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET_S", 0.4)
    with Terminal() as shown:
        shown("data", 0.0)
        shown("data", 0.25)
        time.sleep(1.0)
        shown("data", 1.0)
        shown("data", 1.0)  # it has ended before
        time.sleep(0.8)
        with shown.shows_log():
            logging.getLogger(NOTES).info("three at a time")
            logging.getLogger("flwr.rinr_flower").info("for the file only")
            logging.getLogger("flwr.rinr_flower").warning("a camera is left out")
            logging.getLogger("flwr").warning("Flower's own")
        logging.getLogger("flwr.rinr_flower").warning("too late")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "data ..."
    assert re.fullmatch(r"  data: 25 % after 0\.\d s, about \d\.\d s left", lines[1])
    assert [line for line in lines if re.fullmatch(r"data: 1\.\d s", line)] != []
    assert "  working" in lines
    assert lines[-2:] == ["three at a time", "warning: a camera is left out"]


def test_help_names_the_defaults_of_the_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = run_here("flower-simulation", "-h")
    assert shown.returncode == 0
    for key in ("num_clients", "rounds", "codec", "data", "weights", "strategy", "device", "seed"):
        (line,) = [line for line in shown.stdout.splitlines() if f"--{key.replace('_', '-')} " in line[:40]]
        assert f"[default: ({getattr(Scenario(), key)})]" in line
    version = run_here("flower-simulation", "--version")
    assert version.returncode == 0
    assert re.match(r"flower-simulation \d.* \(flwr \d", version.stdout)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "codec={name: [jpeg"], "--set codec={name: [jpeg: the value is not YAML"),
        (["--seed", "-1"], "'seed' is -1; it must be at least 0"),
        (["--weights", "nope.pt", "--data", "otb100:/nowhere"], "nope.pt"),
        (["--weights", "/no/such.npz"], "no weights at /no/such.npz"),
        (["--set", "ray_address=127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--out", "file"], "file is a file; name a new folder"),
        (["--out", "file/inside"], "Not a directory"),
        (["--out", "/proc/run"], "/proc/run"),
    ],
)
def test_an_odd_machine_is_one_sentence_before_any_work(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("precious")
    monkeypatch.setenv("RINR_CACHE", str(tmp_path_factory.mktemp("cache")))
    done = run_here("flower-simulation", "--config", "quick", *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_that_ended_before_its_first_round_makes_way(tmp_path: Path) -> None:
    first = RunFolder.create(str(tmp_path / "run"))
    (first.path / "devices" / "000").mkdir(parents=True)
    noted(first.path, lambda what, done: None)("start model", 0.5)
    (first.path / ".activity.json").write_text("{")
    (first.path / "tensorboard").mkdir()
    (first.path / "wandb").mkdir()
    first.put("updates", b"the start model, coded")
    second = RunFolder.create(str(tmp_path / "run"))
    assert second.job != first.job
    assert [path.name for path in second.path.iterdir()] == ["job.json"]
    (second.path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="not empty"):
        check_unused(second.path)


def test_the_same_command_goes_on_with_a_run_that_is_not_finished(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    scenario = load_scenario("quick", {"out": out})
    assert _begun(scenario) is None
    folder = RunFolder.create(out)
    scenario.save(folder.scenario)
    assert _begun(scenario) is None, "nothing is kept yet"
    folder.save_round(0, {}, {})
    begun = _begun(scenario)
    assert begun is not None
    assert begun.job == folder.job
    assert _begun(load_scenario("quick", {"out": out, "rounds": 5})) is None, "another scenario"
    for number in range(1, scenario.rounds + 1):
        folder.save_round(number, {}, {})
    assert _begun(scenario) is None, "it is finished"
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        check_unused(folder.path)


def test_a_run_of_real_devices_goes_on_with_no_simulated_ones(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    scenario = load_scenario("quick", {"out": str(folder.path), "num_clients": 2})
    scenario.save(folder.scenario)
    assert len(equipped_in(folder, scenario)) == 2, "a simulation that ended before its devices had their frames"
    folder.save_round(0, {}, {})
    assert len(equipped_in(folder, scenario)) == 2
    shutil.rmtree(folder.devices)
    for arguments in (["--resume", str(folder.path)], ["--config", str(folder.scenario), "--out", str(folder.path)]):
        done = run_here("flower-simulation", *arguments)
        assert done.returncode == 2
        told = f"""go on with it by: flwr run examples/deployment fog --run-config 'resume="{folder.path}"'"""
        assert told in done.stderr
    assert not folder.devices.exists()


HOLDING = """
import subprocess, sys, time
from pathlib import Path
from rinr_flower.simulations.run_folder import held
with held(Path(sys.argv[1])):
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("rounds", [0, 1])
def test_a_folder_in_which_another_process_works_is_left_alone(rounds: int, tmp_path: Path) -> None:
    scenario = load_scenario("default", {**TINY, "out": str(tmp_path / "run")})
    folder = RunFolder.create(scenario.out)
    scenario.save(folder.scenario)
    for number in range(rounds):
        folder.save_round(number, FogMemory().state(), {})
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, folder.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout is not None
            child = int(other.stdout.readline())
            with pytest.raises(ConfigError, match=r"^another process is working in .*run; wait for it, or name a new"):
                run_scenario(scenario, lambda what, done: None)
            done = run_here("flower-simulation", "--resume", folder.path)
            assert done.returncode == 2
            assert "another process is working in" in done.stderr
            assert not read_so_far(folder.path).finished, "reading it needs no hold"
            assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
        finally:
            other.kill()
            other.wait()
        with held(folder.path):
            os.kill(child, 0)  # what it had started lives on, and holds nothing
    with held(folder.path), pytest.raises(ConfigError, match="another process"), held(folder.path):
        pass


def test_a_file_system_without_locks_costs_only_the_hold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unknown(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with held(tmp_path / "run"):
        assert RunFolder.create(str(tmp_path / "run")).job
