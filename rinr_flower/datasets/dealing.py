"""Dealing clips to devices: non-IID by sequence, with held-back frames that no device trains on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Share:
    """What one device will see.

    Attributes
    ----------
    name : ``device-03 (Crossing)``: the device and the sequence its frames come from.
    captures : one clip a round, of consecutive frames, each following the one before.
    held_back : the frames after the last capture, for evaluation; in no device's captures.
    """

    name: str
    captures: tuple[Clip, ...]
    held_back: Clip


def deal(
    clips: Sequence[Clip], n_devices: int, *, frames_per_clip: int, holdout: int, rounds: int = 1, seed: int = 0
) -> list[Share]:
    """Deal every device a stretch of one sequence.

    The sequences are shuffled with ``seed`` and dealt round and round, each as often as it is long enough for, so that
    devices see different scenes as long as there are enough of them. Devices that share a sequence get stretches of it
    that do not overlap, spread evenly. A stretch is ``rounds * frames_per_clip`` frames to train on and then
    ``holdout`` frames held back.

    Parameters
    ----------
    clips : the sequences; all frames of one have one size.
    n_devices : how many shares.
    frames_per_clip : frames a device captures in a round.
    holdout : frames a device holds back for evaluation.
    rounds : rounds of capture.
    seed : of the shuffle; the same seed deals the same shares.

    Raises
    ------
    ConfigError : a count below 1.
    DataError : too few frames; the text says how many there are and are needed, and what to lower.
    """
    for option, value in (
        ("n_devices", n_devices), ("frames_per_clip", frames_per_clip), ("holdout", holdout), ("rounds", rounds)
    ):  # fmt: skip
        if value < 1:
            raise ConfigError(f"{option} = {value} must be at least 1")
    if len({clip.class_names for clip in clips}) > 1:
        raise DataError("the clips name different classes; devices can only share clips with one list of class names")
    need = rounds * frames_per_clip + holdout
    capacity = [len(clip) // need for clip in clips]
    if sum(capacity) < n_devices:
        longest = max((len(clip) for clip in clips), default=0)
        raise DataError(
            f"not enough frames: {len(clips)} sequences of at most {longest} frames, {sum(map(len, clips))} in all, "
            f"give {sum(capacity)} stretches of {need} consecutive frames, and {n_devices} devices need one each "
            f"({rounds} rounds x {frames_per_clip} frames + {holdout} held back); lower the number of devices, rounds, "
            "frames per clip or held-back frames, or give more data"
        )
    order = np.random.default_rng(seed).permutation(len(clips))
    turns = sorted((turn, place) for place, clip in enumerate(order) for turn in range(capacity[clip]))[:n_devices]
    hosted = [sum(1 for _, other in turns if other == place) for place in range(len(clips))]
    shares = []
    for device, (turn, place) in enumerate(turns):
        clip = clips[order[place]]
        start = turn * (len(clip) // hosted[place])
        captures = tuple(clip[start + r * frames_per_clip : start + (r + 1) * frames_per_clip] for r in range(rounds))
        held_back = clip[start + rounds * frames_per_clip : start + need]
        shares.append(Share(f"device-{device:02d} ({clip.name})", captures, held_back))
    unused = sum(1 for count in hosted if not count)
    if unused:
        log.info("%d of %d sequences are dealt to no device", unused, len(clips))
    return shares
