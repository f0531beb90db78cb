"""Dealing clips to devices: disjoint, consecutive, decided by the seed alone, and clear when there is too little."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import picture

from rinr_flower.datasets import Broken, Share, deal, load, sources
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame
from rinr_flower.messages.protocol import Capture, captures_content, read_captures
from rinr_flower.names import as_name
from rinr_flower.simulations.fleet import equip


def numbered(lengths: list[int]) -> list[Clip]:
    """Clips whose frames can be told apart by their pixels: (sequence, frame, 0)."""
    return [
        Clip(f"s{k}", tuple(Frame(np.full((1, 1, 3), (k, i, 0), np.uint8)) for i in range(length)))
        for k, length in enumerate(lengths)
    ]


def numbers(clip: Clip) -> list[tuple[int, int]]:
    return [(int(f.image[0, 0, 0]), int(f.image[0, 0, 1])) for f in clip.frames]


def told(shares: list[Share]) -> list[list[tuple[int, int]]]:
    return [
        [n for part in (*share.captures, share.held_back) for clip in part for n in numbers(clip)] for share in shares
    ]


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    devices=st.integers(1, 12),
    frames=st.integers(1, 6),
    holdout=st.integers(1, 6),
    rounds=st.integers(1, 3),
    seed=st.integers(0, 5),
)
def test_shares_are_disjoint_consecutive_and_complete(
    lengths: list[int], devices: int, frames: int, holdout: int, rounds: int, seed: int
) -> None:
    need = rounds * frames + holdout
    clips = numbered(lengths)
    if sum(length // need for length in lengths) < devices:
        with pytest.raises(DataError, match="not enough frames"):
            deal(clips, devices, frames_per_clip=frames, holdout=holdout, rounds=rounds, seed=seed)
        return
    shares = deal(clips, devices, frames_per_clip=frames, holdout=holdout, rounds=rounds, seed=seed)
    seen = told(shares)
    everything = [n for one in seen for n in one]
    assert len(everything) == len(set(everything)) == devices * need, "no frame is dealt twice"
    for share, one in zip(shares, seen, strict=True):
        assert [[len(c) for c in part] for part in share.captures] == [[frames]] * rounds
        assert [len(c) for c in share.held_back] == [holdout]
        sequence, first = one[0]
        assert one == [(sequence, first + i) for i in range(need)]
    assert told(deal(clips, devices, frames_per_clip=frames, holdout=holdout, rounds=rounds, seed=seed)) == seen


def test_devices_get_different_sequences_while_there_are_enough() -> None:
    shares = deal(numbered([40] * 6), 6, frames_per_clip=4, holdout=4)
    assert {numbers(s.held_back[0])[0][0] for s in shares} == set(range(6))
    shares = deal(numbered([40] * 3), 7, frames_per_clip=4, holdout=4)
    counts = np.bincount([numbers(s.held_back[0])[0][0] for s in shares])
    assert sorted(counts) == [2, 2, 3]


def test_devices_on_one_sequence_are_spread_over_it() -> None:
    shares = deal(numbered([100]), 4, frames_per_clip=5, holdout=5)
    assert [numbers(s.captures[0][0])[0][1] for s in shares] == [0, 25, 50, 75]


def test_the_seed_decides_who_gets_what() -> None:
    clips = numbered([20] * 8)
    dealt = {tuple(s.name for s in deal(clips, 8, frames_per_clip=4, holdout=4, seed=seed)) for seed in range(6)}
    assert len(dealt) == 6
    assert all(re.fullmatch(r"device-0[0-7] \(s[0-7]\)", name) for names in dealt for name in names)


def test_too_few_frames_say_what_is_there_what_is_needed_and_what_to_lower() -> None:
    with pytest.raises(DataError) as caught:
        deal(numbered([30, 20]), 5, frames_per_clip=6, holdout=4, rounds=2)
    text = str(caught.value)
    for part in (
        "sources: 2, frames of the longest: 30, of all: 50",
        "2 stretches of 16",
        "5 devices",
        "rounds=2 x frames_per_clip=6 + holdout=4",
        "lower one of these or the number of devices",
    ):
        assert part in text
    assert "deal=iid" not in text  # 80 frames are not there in that way either
    with pytest.raises(DataError, match="or give more data, or deal=iid"):
        deal(numbered([30, 20]), 3, frames_per_clip=6, holdout=4, rounds=2)


@pytest.mark.parametrize("option", ["n_devices", "frames_per_clip", "holdout", "rounds"])
def test_counts_below_one_are_refused(option: str) -> None:
    options = {"n_devices": 1, "frames_per_clip": 1, "holdout": 1, "rounds": 1, option: 0}
    with pytest.raises(ConfigError, match=f"{option} = 0 must be at least 1"):
        deal(numbered([9]), **options)


def test_clips_that_name_different_classes_cannot_be_shared() -> None:
    clips = [Clip("a", numbered([9])[0].frames, ("cup",)), Clip("b", numbered([9])[0].frames, ("hat",))]
    with pytest.raises(DataError, match=r"different classes: a has cup; b has hat; .*one YAML"):
        deal(clips, 2, frames_per_clip=1, holdout=1)


@pytest.mark.parametrize("name", ["long name " * 30, "x" * 300, "caf\udce9\n\x1b[2J", "a\u200bb"])
def test_a_source_of_any_name_makes_names_that_messages_carry(name: str, tmp_path: Path) -> None:
    clips = [Clip(name, clip.frames) for clip in numbered([30, 30])]
    shares = deal(clips, 2, frames_per_clip=4, holdout=4, rounds=2)
    named = set()
    for number, folder in enumerate(equip(shares, tmp_path / "devices")):
        for taken in (1, 2):
            given = [Capture(folder.name, c.name, c.camera_bytes, c.data) for c in folder.captures(taken)]
            said, (read,) = read_captures(captures_content(folder.name, given))
            named.add((said.device, read.clip))
            assert said.device.startswith(f"device-{number:02d} ({name[:1]}")
            assert read.clip.startswith(name[:1])
            assert read.clip.endswith(f" {taken}")
    assert len(named) == 4
    assert as_name("no\xa0break") == "no\xa0break"


SIZES = [(64, 48), (48, 64), (64, 40), (40, 64)]


def collection(tmp_path: Path, count: int, labels: Callable[[int], str] = lambda i: "0 0.5 0.5 0.5 0.5\n") -> str:
    """Pictures of four sizes with labels; which one a picture is can be read from its name."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for i in range(count):
        picture(*SIZES[i % 4], seed=i).save(tmp_path / f"images/{i:04d}.png")
        (tmp_path / f"labels/{i:04d}.txt").write_text(labels(i))
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a, b, c, d]\n")
    return f"yolo:{tmp_path}/data.yaml"


def fingerprints(share: Share) -> list[bytes]:
    return [f.image.tobytes() for part in (*share.captures, share.held_back) for clip in part for f in clip.frames]


@pytest.mark.parametrize("how", ["sequence", "iid", "dirichlet", {"name": "dirichlet", "alpha": 0.1}])
def test_pictures_of_many_sizes_are_dealt_by_picture(how: str | dict[str, Any], tmp_path: Path) -> None:
    found = sources(collection(tmp_path, 40))
    shares = deal(found, 3, frames_per_clip=4, holdout=5, rounds=2, how=how, seed=1)
    dealt = [f for share in shares for f in fingerprints(share)]
    assert len(dealt) == len(set(dealt)) == 3 * 13, "each picture once"
    for share in shares:
        assert [sum(map(len, part)) for part in share.captures] == [4, 4]
        assert sum(map(len, share.held_back)) == 5
        for part in (*share.captures, share.held_back):
            assert len({(c.width, c.height) for c in part}) == len(part), "one clip for each size"
            assert len({c.name for c in part}) == len(part)
    again = deal(found, 3, frames_per_clip=4, holdout=5, rounds=2, how=how, seed=1)
    assert [fingerprints(s) for s in again] == [fingerprints(s) for s in shares]
    assert fingerprints(deal(found, 3, frames_per_clip=4, holdout=5, rounds=2, how=how, seed=2)[0]) != dealt[:13]


def test_only_what_is_dealt_is_read(tmp_path: Path) -> None:
    found = sources(collection(tmp_path, 60))
    shares = deal(found, 2, frames_per_clip=2, holdout=2, seed=3)
    taken = {f for share in shares for f in fingerprints(share)}
    for i in range(60):  # what was not dealt may be gone
        if picture(*SIZES[i % 4], seed=i).tobytes() not in taken:
            (tmp_path / f"images/{i:04d}.png").unlink()
    assert {f for s in deal(found, 2, frames_per_clip=2, holdout=2, seed=3) for f in fingerprints(s)} == taken


def test_a_picture_that_cannot_be_read_is_replaced_by_another_one(tmp_path: Path) -> None:
    spec = collection(tmp_path, 9)
    for i in (2, 5):
        file = tmp_path / f"images/{i:04d}.png"
        file.write_bytes(file.read_bytes()[:-60])
    with pytest.raises(DataError, match="2 errors; mend these"):
        deal(sources(spec), 1, frames_per_clip=6, holdout=3)
    broken = Broken(skip=True)
    shares = deal(sources(spec, broken=broken), 1, frames_per_clip=5, holdout=2, broken=broken)
    assert len(fingerprints(shares[0])) == 7
    assert len(broken.reasons) == 2
    with pytest.raises(DataError, match="not enough frames"):
        deal(sources(spec), 1, frames_per_clip=6, holdout=2, broken=Broken(skip=True))


def test_broken_pictures_are_replaced_wherever_they_were_dealt(tmp_path: Path) -> None:
    """A clip of which no picture can be read, and pictures that are known to be broken from before."""
    for i in range(20):
        picture(64, 48, seed=i).save(tmp_path / f"{i:02d}.jpg")
    for i in (0, 1, 2, 3, 8):
        (tmp_path / f"{i:02d}.jpg").write_bytes((tmp_path / f"{i:02d}.jpg").read_bytes()[:-400])
    found, broken = sources(str(tmp_path)), Broken(skip=True)
    good = [
        c.images().tobytes()
        for i in range(20)
        if i not in (0, 1, 2, 3, 8)
        for c in load(f"{tmp_path}#1", frames=slice(i, i + 1))
    ]
    for _ in range(2):
        (one, two) = deal(found, 2, frames_per_clip=2, holdout=2, rounds=2, broken=broken)
        for share in (one, two):
            assert [[len(clip) for clip in part] for part in (*share.captures, share.held_back)] == [[2]] * 3
        assert fingerprints(one) == good[:6], "consecutive frames"
        assert set(fingerprints(two)) < set(good[6:])
    assert len(broken.names) == 5
    (share,) = deal(found, 1, frames_per_clip=2, holdout=2, broken=Broken(skip=True))
    assert fingerprints(share) == good[:4], "the first four could all not be read"


def labelled_clips(per_class: int) -> list[Clip]:
    """A clip of pictures, of which each quarter shows another class."""
    frames = [
        Frame(np.full((8, 8, 3), i % 251, np.uint8), np.array([[0, 0, 4, 4]], np.float32), np.array([i // per_class]))
        for i in range(4 * per_class)
    ]
    return [Clip("all", tuple(frames), ("a", "b", "c", "d"))]


def class_shares(alpha: float, seed: int) -> np.ndarray:
    """Of every device (row), how many of its pictures show each class (column)."""
    how = {"name": "dirichlet", "alpha": alpha}
    shares = deal(labelled_clips(100), 5, frames_per_clip=30, holdout=10, how=how, seed=seed)
    rows = []
    for share in shares:
        classes = [int(f.classes[0]) for p in (*share.captures, share.held_back) for c in p for f in c.frames]
        rows.append(np.bincount(classes, minlength=4))
    return np.array(rows)


def test_dirichlet_follows_its_alpha() -> None:
    """How much devices differ in their classes: as in a random draw for large alpha, nearly entirely for small."""
    spread = {
        alpha: np.mean([class_shares(alpha, s).std(axis=0).mean() for s in range(12)]) for alpha in (0.1, 1, 1000)
    }
    assert spread[0.1] > 1.5 * spread[1] > 3 * spread[1000]
    assert spread[1000] < 3
    assert spread[0.1] > 10
    assert (class_shares(0.1, 0).sum(axis=1) == 40).all(), "devices get as much as each other"


def test_by_source_no_two_devices_share_one() -> None:
    clips = numbered([9, 5, 4, 7, 6, 3, 8])
    shares = deal(clips, 3, frames_per_clip=4, holdout=4, rounds=2, how="source")
    owners: dict[int, set[int]] = {}
    for device, one in enumerate(told(shares)):
        for sequence, _ in one:
            owners.setdefault(sequence, set()).add(device)
    assert all(len(devices) == 1 for devices in owners.values())
    with pytest.raises(DataError, match=r"7 sources with 42 frames, none of them shared by two devices.*deal=iid"):
        deal(clips, 8, frames_per_clip=1, holdout=1, how="source")


def test_iid_mixes_sources() -> None:
    shares = deal(numbered([40] * 4), 4, frames_per_clip=20, holdout=20, how="iid")
    assert all(len({sequence for sequence, _ in one}) == 4 for one in told(shares))
    with pytest.raises(DataError, match=r"40 in all, and 5 devices need 9 each, 45 in all .*or give more data$"):
        deal(numbered([10] * 4), 5, frames_per_clip=5, holdout=4, how="iid")


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("dirichlets", "unknown way to deal 'dirichlets'; known: dirichlet, iid, sequence, source"),
        ({"name": "dirichlet", "beta": 1}, "no option 'beta'; known: alpha"),
        ({"name": "dirichlet", "alpha": 0}, "alpha=0.0 is not in"),
    ],
)
def test_wrong_ways_to_deal_are_named(how: str | dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        deal(numbered([9]), 1, frames_per_clip=1, holdout=1, how=how)
