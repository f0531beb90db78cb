"""Dealing clips to devices: disjoint, consecutive, decided by the seed alone, and clear when there is too little."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.datasets import Share, deal
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame


def numbered(lengths: list[int]) -> list[Clip]:
    """Clips whose frames can be told apart by their pixels: (sequence, frame, 0)."""
    return [
        Clip(f"s{k}", tuple(Frame(np.full((1, 1, 3), (k, i, 0), np.uint8)) for i in range(length)))
        for k, length in enumerate(lengths)
    ]


def numbers(clip: Clip) -> list[tuple[int, int]]:
    return [(int(f.image[0, 0, 0]), int(f.image[0, 0, 1])) for f in clip.frames]


def told(shares: list[Share]) -> list[list[tuple[int, int]]]:
    return [[n for clip in (*share.captures, share.held_back) for n in numbers(clip)] for share in shares]


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
        assert [len(c) for c in share.captures] == [frames] * rounds
        assert len(share.held_back) == holdout
        sequence, first = one[0]
        assert one == [(sequence, first + i) for i in range(need)]
    assert told(deal(clips, devices, frames_per_clip=frames, holdout=holdout, rounds=rounds, seed=seed)) == seen


def test_devices_get_different_sequences_while_there_are_enough() -> None:
    shares = deal(numbered([40] * 6), 6, frames_per_clip=4, holdout=4)
    assert {numbers(s.held_back)[0][0] for s in shares} == set(range(6))
    shares = deal(numbered([40] * 3), 7, frames_per_clip=4, holdout=4)
    counts = np.bincount([numbers(s.held_back)[0][0] for s in shares])
    assert sorted(counts) == [2, 2, 3]


def test_devices_on_one_sequence_are_spread_over_it() -> None:
    shares = deal(numbered([100]), 4, frames_per_clip=5, holdout=5)
    assert [numbers(s.captures[0])[0][1] for s in shares] == [0, 25, 50, 75]


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
        "2 sequences of at most 30 frames, 50 in all",
        "2 stretches of 16",
        "5 devices",
        "2 rounds x 6 frames + 4",
    ):
        assert part in text
    assert "lower the number of devices, rounds, frames per clip or held-back frames" in text


@pytest.mark.parametrize("option", ["n_devices", "frames_per_clip", "holdout", "rounds"])
def test_counts_below_one_are_refused(option: str) -> None:
    options = {"n_devices": 1, "frames_per_clip": 1, "holdout": 1, "rounds": 1, option: 0}
    with pytest.raises(ConfigError, match=f"{option} = 0 must be at least 1"):
        deal(numbered([9]), **options)


def test_clips_that_name_different_classes_cannot_be_shared() -> None:
    clips = [Clip("a", numbered([9])[0].frames, ("cup",)), Clip("b", numbered([9])[0].frames, ("hat",))]
    with pytest.raises(DataError, match="different classes"):
        deal(clips, 2, frames_per_clip=1, holdout=1)
