"""The benchmark of scene's bytes: comparison at equal quality by hand, and constants at other values."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from benchmark_scripts import script
from lib.scene_constants import constants_set

from rinr_flower.codecs.scene.decode import volume
from rinr_flower.codecs.scene.encode import canvas, floor, heads, quantise, refine, residual
from rinr_flower.errors import ConfigError

rate = script("scene_rate")


def row(clip: str, quality: float, size: float, db: float, weight: float = 11) -> dict[str, object]:
    found = {"bytes_per_frame": size, "frame_db": db, "object_db": db + 1}
    return {"clip": clip, "quality": quality, "object_weight": weight, **found}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["scene_rate", *map(str, arguments)])
    return int(rate.main())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark's clips are a tiny one of the sample."""
    monkeypatch.setattr(rate, "default_specs", lambda: ["sample:sequences=1,frames=4,width=96,height=64"])


def test_bytes_are_compared_at_equal_quality() -> None:
    old = [row("a/x", 40, 100, 30), row("a/x", 50, 400, 32), row("a/x", 45, 1, 31, weight=5)]
    (found,) = rate.compared([row("a/x", 45, 100, 31)], old)
    assert found == {"clip": "a/x", "frame": pytest.approx(0.5), "object": pytest.approx(0.5)}


def test_a_version_with_one_setting_is_compared_with_the_curve_of_the_other() -> None:
    new = [row("a/x", 40, 100, 30), row("a/x", 50, 400, 32)]
    (found,) = rate.compared(new, [row("a/x", 45, 100, 31)])
    assert found == {"clip": "a/x", "frame": pytest.approx(2), "object": pytest.approx(2)}
    with pytest.raises(ConfigError, match="1 and 1 settings of object weight 11 cannot be compared; measure one"):
        rate.compared(new[:1], [row("a/x", 45, 100, 31)])


def test_one_recording_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    ratios = {"uav123/person12_1": 0.8, "dac_sdc/person12": 1.5, "a/x": 0.9, "a/y": 1.0}
    rate.show([{"clip": clip, "frame": ratio, "object": 0.7} for clip, ratio in ratios.items()])
    text = capsys.readouterr().out
    assert "the worse of both: median -10.0%, mean -10.0%, most +0.0% (a/y)" in text
    assert "not counted, as another clip shows the same frames: dac_sdc/person12" in text


def test_a_constant_is_set_wherever_it_was_imported_and_nowhere_else() -> None:
    users = (quantise, canvas, heads, refine, residual)
    before = floor._STRIDE
    assert before is residual._STRIDE, "two constants of one name and one object"
    texts = ["encode.quantise:LAMBDA=1", "decode.volume:SHRINK=0.1", "encode.residual:_STRIDE=7"]
    with constants_set(texts) as constants:
        assert constants == dict(zip([t.partition("=")[0] for t in texts], (1.0, 0.1, 7), strict=True))
        assert [user.LAMBDA for user in users] == [1.0] * len(users)
        assert (quantise.SHRINK, volume.SHRINK) == (0.1, 0.1)
        assert [m._STRIDE for m in (residual, floor)] == [7, before]
    assert {user.LAMBDA for user in users} != {1.0}
    assert before is residual._STRIDE
    assert quantise.SHRINK == volume.SHRINK != 0.1


def test_a_constant_changes_the_payload_and_is_recorded(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / "plain.json", tmp_path / "other.json"]
    assert run(monkeypatch, "--preset", "fast", "--out", files[0]) == 0
    assert run(monkeypatch, "--preset", "fast", "--constant", "encode.quantise:LAMBDA=0.5", "--out", files[1]) == 0
    plain, other = (json.loads(file.read_text()) for file in files)
    assert plain["settings"] == [{"preset": "fast"}]
    assert other["settings"] == [{"preset": "fast", "constants": {"encode.quantise:LAMBDA": 0.5}}]
    assert other["command"] == "python benchmarks/scene_rate.py --constant encode.quantise:LAMBDA=0.5"
    assert [r["quality"] for r in other["rows"]] == [52, 55], "the default and one beside it: a curve"
    assert other["rows"][0]["bytes_per_frame"] != plain["rows"][0]["bytes_per_frame"]
    assert run(monkeypatch, "--compare", files[1], "--against", files[0]) == 0


@pytest.mark.parametrize(
    ("constant", "text"),
    [
        ("LAMBDA=0.2", "is not MODULE:NAME=VALUE, as encode.quantise:LAMBDA=0.14 is"),
        ("encode.nosuch:LAMBDA=0.2", "no module rinr_flower.codecs.scene.encode.nosuch has constants; these have: "),
        ("encode.quantise:LAMDA=0.2", "has no constant LAMDA of its own; it has LAMBDA, "),
        ("encode.residual:LAMBDA=0.2", "has no constant LAMBDA of its own; set encode.quantise:LAMBDA"),
        ("encode.quantise:LAMBDA='much'", "write a value of type float, as the present 0.11 is"),
        ("encode.quantise:LAMBDA=much", "write a value of type float, as the present 0.11 is"),
        ("encode.floor:_TRIES=2.5", "write a value of type int, as the present 4 is"),
        ("encode.floor:_BELIEVED=(1.0,)", "write a value of type tuple, as the present (1.0, 6.0) is"),
        ("encode.quantise:_SKIPPED=[1]", "a value of type ndarray cannot be written here; change it in quantise.py"),
    ],
)
def test_a_wrong_constant_is_one_line(
    constant: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--constant", constant, "--out", tmp_path / "out.json") == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"error: --constant {constant!r}")
    assert text in line
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--constant", "encode.quantise:LAMBDA=0.2"], "name its result file with --out"),
        (["--compare", "new.json"], "--compare NEW and --against OLD go together"),
        (["--compare", "new.json", "--against", "old.json"], "new.json: there is no such result file"),
        ([], "name a result file to write with --out"),
    ],
)
def test_wrong_arguments_are_one_line(
    arguments: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 2
    assert text in capsys.readouterr().out
