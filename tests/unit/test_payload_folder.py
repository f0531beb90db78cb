"""A folder of payloads that cannot be trained on is refused, by name, before any training starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from rinr_flower.bitstream.container import VERSION
from rinr_flower.codecs import Jpeg, RapidInr
from rinr_flower.detection import payload_folder
from rinr_flower.detection.payload_folder import split_of
from rinr_flower.errors import ConfigError, DataError, PayloadError
from rinr_flower.frames import Clip, Frame

CPU = torch.device("cpu")


def clip(name: str, frames: int = 5) -> Clip:
    picture = np.full((16, 24, 3), 90, np.uint8)
    box = np.array([[2, 3, 14, 12]], np.float32)
    return Clip(name, tuple(Frame(picture, box, np.zeros(1, np.int64)) for _ in range(frames)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One payload of a classical codec and one of networks, 5 frames of 24x16 each."""
    (tmp_path / "a.rinr").write_bytes(Jpeg().encode(clip("a")))
    (tmp_path / "b.rinr").write_bytes(RapidInr(hidden=8, layers=1, steps=1).encode(clip("b")))
    return tmp_path


def test_mixed_codecs_are_one_set_with_the_last_frames_held_back(folder: Path) -> None:
    split = split_of(folder, device=CPU, cache=False)
    assert split.train.names == tuple(f"{c}-{i:06d}" for c in "ab" for i in range(4))
    assert split.val.names == ("a-000004", "b-000004")


def test_payloads_of_mixed_versions_are_refused_with_the_file(folder: Path) -> None:
    data = (folder / "b.rinr").read_bytes()
    (folder / "b.rinr").write_bytes(data[:4] + bytes([VERSION + 1]) + data[5:])
    with pytest.raises(PayloadError, match=r"b\.rinr: .*version"):
        split_of(folder, device=CPU, cache=False)


def test_a_file_that_cannot_be_opened_is_named(folder: Path) -> None:
    (folder / "c.rinr").mkdir()
    with pytest.raises(DataError, match=r"c\.rinr cannot be read: Is a directory"):
        split_of(folder, device=CPU, cache=False)


def test_an_empty_folder_and_an_empty_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no payloads"):
        split_of(tmp_path, device=CPU, cache=False)
    (tmp_path / "one.rinr").write_bytes(Jpeg().encode(clip("one", frames=1)))
    with pytest.raises(DataError, match="no frame for validation"):
        split_of(tmp_path, device=CPU, cache=False)


FRAMES_BYTES = 5 * 24 * 16 * 3


@pytest.mark.parametrize(
    ("cache", "free", "text"),
    [
        (True, 2 * FRAMES_BYTES - 1, "11,520 bytes of decoded frames .* without cache"),
        (False, FRAMES_BYTES - 1, "5,760 bytes of decoded frames .* fewer payloads"),
        (False, FRAMES_BYTES, r"up to b\.rinr take .* fewer payloads"),
    ],
)
def test_more_than_memory_holds_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache: bool, free: int, text: str
) -> None:
    """Decoded frames before anything is decoded; networks, whose size only reading tells, as soon as it is known."""
    monkeypatch.setattr(payload_folder, "_free_bytes", lambda device: free)
    with pytest.raises(ConfigError, match=text):
        split_of(folder, device=CPU, cache=cache)
