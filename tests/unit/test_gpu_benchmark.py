"""The GPU benchmark: cases that are resumed, its float64 reference, its bars, and what it imports."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_scripts import BENCHMARKS
from lib.gpu.bars import bars, show
from lib.gpu.case import Case, NotHereError, run_cases
from lib.gpu.float64 import in_float64
from lib.gpu.right import compared, draw, payload, plain_torch
from lib.results import ResultFile
from rich.console import Console

from rinr_flower.bitstream.weights import quantise
from rinr_flower.inr.siren import SirenShape, initial_bank
from rinr_flower.rendering.kernels import SWITCH

CODE = ["rinr_flower.quality"]
CPU = torch.device("cpu")


def result(path: Path) -> ResultFile:
    return ResultFile(path, command="x", settings={"device": "cpu"})


def rows(path: Path) -> dict[str, dict[str, object]]:
    return {row["case"] + row["subject"]: row for row in result(path).rows}


def test_cases_are_written_down_and_only_the_unfinished_run_again(tmp_path: Path) -> None:
    ran: list[str] = []
    broken = True

    def figures(name: str) -> dict[str, float]:
        ran.append(name)
        return {"seconds": 1.0}

    def fails() -> dict[str, float]:
        ran.append("fails")
        if broken:
            raise ValueError("no such kernel")
        return {"seconds": 2.0}

    def absent() -> dict[str, float]:
        raise NotHereError("needs ray")

    made = [
        Case("one", lambda: figures("one")),
        Case("fails", fails),
        Case("many", lambda: [{"subject": "a", "seconds": 3.0}, {"subject": "b", "seconds": 4.0}]),
        Case("absent", absent),
    ]
    path = tmp_path / "gpu.json"
    run_cases("part", made, CODE, result(path), time.time() + 60)
    found = rows(path)
    assert found["one"]["seconds"] == 1.0
    assert found["fails"]["failed"] == "ValueError: no such kernel"
    assert (found["manya"]["seconds"], found["manyb"]["seconds"]) == (3.0, 4.0)
    assert found["absent"]["not_here"] == "needs ray"
    broken = False
    run_cases("part", made, CODE, result(path), time.time() + 60)
    assert ran == ["one", "fails", "fails"]
    assert "failed" not in rows(path)["fails"]
    assert rows(path)["fails"]["seconds"] == 2.0
    run_cases("part", made, ["rinr_flower.frames"], result(path), time.time() + 60)
    assert ran == ["one", "fails", "fails", "one", "fails"]  # measured with other code


def test_cases_for_which_no_time_is_left_are_named_and_run_later(tmp_path: Path) -> None:
    def slow() -> dict[str, float]:
        time.sleep(0.3)
        return {}

    made, path = [Case("first", slow), Case("second", slow)], tmp_path / "gpu.json"
    run_cases("part", made, CODE, result(path), time.time() + 0.4)
    assert "left_out" not in rows(path)["first"]
    assert "run again" in str(rows(path)["second"]["left_out"])
    run_cases("part", made, CODE, result(path), time.time() + 60)
    assert "left_out" not in rows(path)["second"]


def test_the_reference_is_computed_in_float64() -> None:
    """A SIREN in plain torch, raised to float64, is the formula in numpy to 1e-12, which float32 is not."""
    shape = SirenShape(12, 3)
    tensors = [quantise(t.numpy(), 8, (0,)) for t in initial_bank(shape, 1, torch.Generator().manual_seed(0))]
    weights = [t.values[0].astype(np.float64) * t.scale[0].astype(np.float64) for t in tensors]
    points = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    value = points.astype(np.float64)
    for i in range(0, 6, 2):
        value = np.sin(30 * (value @ weights[i] + weights[i + 1]))
    expected = value @ weights[-2] + weights[-1]

    def evaluated() -> torch.Tensor:
        found = torch.from_numpy(points)
        layers = [torch.from_numpy(t.values[0]).float() * torch.from_numpy(t.scale[0]) for t in tensors]
        for i in range(0, 6, 2):
            found = torch.sin(30 * torch.addmm(layers[i + 1], found, layers[i]))
        return torch.addmm(layers[-1], found, layers[-2])

    with in_float64():
        raised = evaluated()
        made = torch.empty(2, dtype=torch.float32), torch.zeros(2), torch.ones(2).half()
    assert {t.dtype for t in made} == {torch.float64}
    assert np.abs(raised.numpy() - expected).max() < 1e-12
    assert np.abs(evaluated().numpy() - expected).max() > 1e-9
    assert torch.get_default_dtype() == torch.float32


def test_a_wrong_picture_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    with plain_torch(), in_float64():
        expected = draw(payload("jpeg"), CPU)
    assert compared(draw(payload("jpeg"), CPU), expected)["ok"]
    assert not compared(expected + 1.5 / 255, expected)["ok"]


def test_bars_follow_from_the_rows() -> None:
    def drawn(subject: str, rate: float, size: str = "640x360") -> dict[str, object]:
        return {"part": "decode", "case": "batch 4", "subject": subject, "size": size, "warm_frames_per_s": rate}

    found = [
        drawn("scene", 9_000), drawn("scene", 12_000), drawn("scene", 50_000, "320x180"),
        drawn("scene, plain torch", 3_000),
        {"part": "train", "case": "yolov8n, payloads of scene, cache off", "subject": "", "frames_per_s": 800.0},
        {"part": "train", "case": "yolov8n, JPEG, 2 workers, cache off", "subject": "", "frames_per_s": 400.0},
        {"part": "encode", "case": "rapid_inr, two threads", "subject": "", "seconds_per_frame": 5.0},
        {"part": "encode", "case": "rapid_inr, many clips", "subject": "", "seconds_per_frame": 0.05},
    ]  # fmt: skip
    by_name = {bar.name: bar for bar in bars(found)}
    scene = by_name["scene, warm frames/s at 640x360"]
    assert (scene.got, scene.met) == (12_000, True)
    assert by_name["scene, fused over plain torch"].got == 4
    assert not by_name["an epoch from payloads, times JPEG with 2 workers"].met
    assert by_name["rapid_inr, fits over two threads"].got == pytest.approx(100)
    assert by_name["residual, fits over two threads"].got is None
    console = Console(record=True, width=140)
    show([{**row, "batch": 4, "took_s": 1.0} for row in found], console, cuda=True)
    text = console.export_text()
    assert "12,000" in text
    assert "MISSED" in text
    assert "not measured" in text


IMPORTS = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is not there", name=name)
sys.meta_path.insert(0, Blocked())
import importlib
for part in ("bars", "case", "float64", "setting", "right", "decode", "train", "encode", "clients"):
    importlib.import_module(f"lib.gpu.{{part}}")
"""


def test_it_imports_nothing_that_a_bare_gpu_machine_lacks() -> None:
    blocked = ("flwr", "ray", "typer", "cryptography", "scipy", "polars", "sklearn", "av", "pycocotools", "grpc")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS.format(blocked=blocked)],
        cwd=BENCHMARKS, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_without_a_device_it_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "--device cpu --quick" in done.stderr


@pytest.mark.system
def test_a_part_runs_resumes_and_prints_its_table(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--device", "cpu", "--quick", "--parts", "prepare", "decode"]
    command += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "JPEG, OpenCV" in done.stdout
    found = ResultFile(tmp_path / "gpu.json", command="", settings={"device": "cpu", "quick": True}).rows
    before = {row["case"]: row["took_s"] for row in found}
    assert {"scene", "nerv", "cold, 96x64", "batch 8, 96x64", "the whole part"} <= set(before)
    assert not any("failed" in row for row in found)
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stdout
    found = ResultFile(tmp_path / "gpu.json", command="", settings={"device": "cpu", "quick": True}).rows
    assert {row["case"]: row["took_s"] for row in found if row["case"] != "the whole part"} == {
        case: took for case, took in before.items() if case != "the whole part"
    }
