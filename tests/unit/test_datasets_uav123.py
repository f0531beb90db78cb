"""The reader of UAV123: which rows belong to which frames, and where stretches are listed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from image_folders import write_images

from rinr_flower.datasets import load
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip


def uav(root: Path, *, frames: range, rows: int, name: str = "car1_2", folder: str = "car1") -> Path:
    write_images(root / "data_seq/UAV123" / folder, [f"{i:06d}.jpg" for i in frames])
    (root / "anno/UAV123").mkdir(parents=True, exist_ok=True)
    lines = ["NaN,NaN,NaN,NaN" if i == 3 else f"{i + 1},1,5,5" for i in range(rows)]
    (root / f"anno/UAV123/{name}.txt").write_text("\n".join(lines) + "\n")
    return root


def subset(root: Path, **values: int | str) -> None:
    entry = {"name": "car1_2", "path": "data_seq/UAV123/car1", "startFrame": 5, "endFrame": 8, **values}
    (root / "subset.json").write_text(json.dumps([entry]))


def lefts(clip: Clip) -> list[list[float]]:
    return [f.boxes[:, 0].tolist() for f in clip.frames]


def test_uav_rows_of_the_stretch(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 12), rows=4)
    subset(tmp_path)
    (clip,) = load(f"uav123:{tmp_path}")
    assert clip.name == "car1_2"
    assert lefts(clip) == [[0], [1], [2], []]
    assert clip.frames[0].file == (tmp_path / "data_seq/UAV123/car1/000005.jpg").read_bytes()


def test_uav_rows_of_the_whole_original_sequence(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(5, 9), rows=9)
    subset(tmp_path, original_startFrame=2, original_endFrame=10)
    assert lefts(load(f"uav123:{tmp_path}/car1_2")[0]) == [[], [4], [5], [6]]


def test_uav_stretches_from_the_benchmarks_own_list(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 12), rows=4)
    (tmp_path / "configSeqs.m").write_text(
        "seqUAV123={struct('name','car1_2','path','D:\\data_seq\\UAV123\\car1\\','startFrame',5,'endFrame',8,'nz',6),...\n"
        "seqUAV20L={struct('name','car1_2','path','D:\\data_seq\\UAV20L\\car1\\','startFrame',1,'endFrame',9,'nz',6)};"
    )
    (clip,) = load(f"uav123:{tmp_path}")
    assert clip.frames[0].file == (tmp_path / "data_seq/UAV123/car1/000005.jpg").read_bytes()
    assert len(clip) == 4


def test_uav_without_a_list_takes_the_whole_folder(tmp_path: Path) -> None:
    uav(tmp_path, frames=range(1, 6), rows=5)
    assert len(load(f"uav123:{tmp_path}")[0]) == 5


def test_uav_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data_seq/ and anno/ here"):
        load(f"uav123:{tmp_path}")
    uav(tmp_path, frames=range(1, 6), rows=4)
    with pytest.raises(DataError, match=r"car1_2\.txt: 4 rows for the 5 frames of car1_2"):
        load(f"uav123:{tmp_path}")
    with pytest.raises(DataError, match=r"no sequence 'boat9'; anno/UAV123 has car1_2"):
        load(f"uav123:{tmp_path}/boat9")
    subset(tmp_path)
    with pytest.raises(DataError, match=r"3 of the frames 5\.\.8 are missing, the first is 000006"):
        load(f"uav123:{tmp_path}")
    (tmp_path / "subset.json").write_text('[{"name": "car1_2"}]')
    with pytest.raises(DataError, match=r"subset\.json: not a list of sequences"):
        load(f"uav123:{tmp_path}")
    shutil.copytree(tmp_path / "anno/UAV123", tmp_path / "anno/UAV123_10fps")
    (tmp_path / "data_seq/UAV123_10fps").mkdir()
    with pytest.raises(ConfigError, match=r"holds UAV123 and UAV123_10fps; choose with .*variant=UAV123"):
        load(f"uav123:{tmp_path}")
    with pytest.raises(ConfigError, match="no variant 'x'"):
        load(f"uav123:{tmp_path},variant=x")
