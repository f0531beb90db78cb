"""Dealing pictures to devices, with held-back frames that no device trains on.

Ways to deal are components (:data:`dealings`). Their names are those of the partitioners of ``flwr-datasets`` where
these deal alike: that package brings Hugging Face's hub client, pandas and pyarrow along, for tables of pictures.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from rinr_flower.datasets.source import Broken, Progress, Shot, Source, of_clip, read_groups
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip
from rinr_flower.names import as_name
from rinr_flower.registry import Registry

log = logging.getLogger(__name__)

Place = tuple[int, int]
"""Number of a source, and of a shot in it."""


@dataclass(frozen=True, eq=False)
class Share:
    """What one device will see.

    Attributes
    ----------
    name : ``device-03 (Crossing)``: the device, and the sequence if all its frames come from one.
    captures : the clips of every round, each of one size. From a sequence they are consecutive frames, each round
        following the one before.
    held_back : clips of the frames for evaluation; in no device's captures.
    """

    name: str
    captures: tuple[tuple[Clip, ...], ...]
    held_back: tuple[Clip, ...]


class Dealing(ABC):
    """Which pictures each device gets. A frozen dataclass: its fields are its options."""

    name: ClassVar[str]

    @abstractmethod
    def places(
        self, sources: Sequence[Source], devices: int, need: int, generator: np.random.Generator
    ) -> list[list[Place]]:
        """``need`` places for each device, none of them twice. DataError if that cannot be."""


dealings: Registry[Dealing] = Registry("way to deal", "rinr_flower.dealings")


@dealings.register("sequence")
@dataclass(frozen=True)
class BySequence(Dealing):
    """Every device gets one stretch of one sequence, or pictures of one collection.

    The sources are shuffled and dealt round and round, each as often as it is long enough for, so that devices see
    different scenes as long as there are enough of them. Devices that share a sequence get stretches of it that do not
    overlap, spread evenly; those that share a collection get other pictures of it, at random.
    """

    def places(
        self, sources: Sequence[Source], devices: int, need: int, generator: np.random.Generator
    ) -> list[list[Place]]:
        capacity = [len(source) // need for source in sources]
        if sum(capacity) < devices:
            longest = max(map(len, sources), default=0)
            raise DataError(
                f"not enough frames: sources: {len(sources)}, frames of the longest: {longest}, of all: "
                f"{sum(map(len, sources))}; that gives {sum(capacity)} stretches of {need} frames of one source, and "
                f"{devices} devices need one each"
            )
        order = generator.permutation(len(sources))
        turns = sorted((turn, at) for at, source in enumerate(order) for turn in range(capacity[source]))[:devices]
        hosted = [sum(1 for _, other in turns if other == at) for at in range(len(sources))]
        rows = {int(s): _rows(sources[s], generator) for at, s in enumerate(order) if hosted[at]}
        dealt = []
        for turn, at in turns:
            source = int(order[at])
            start = turn * (len(sources[source]) // hosted[at])
            dealt.append([(source, row) for row in rows[source][start : start + need]])
        unused = sum(1 for count in hosted if not count)
        if unused:
            log.info("%d of %d sequences are dealt to no device", unused, len(sources))
        return dealt


@dealings.register("source")
@dataclass(frozen=True)
class BySource(Dealing):
    """No two devices get pictures of the same source (folder, sequence, camera).

    flwr-datasets: ``NaturalIdPartitioner``, grouped. Each source in turn, the largest first, goes to the device that
    has the fewest pictures so far; a device takes its pictures from its sources in order.
    """

    def places(
        self, sources: Sequence[Source], devices: int, need: int, generator: np.random.Generator
    ) -> list[list[Place]]:
        hands: list[list[Place]] = [[] for _ in range(devices)]
        order = generator.permutation(len(sources))
        for source in sorted(order.tolist(), key=lambda s: -len(sources[s])):
            smallest = min(hands, key=len)
            smallest += [(source, row) for row in _rows(sources[source], generator)]
        least = min(map(len, hands))
        if least < need:
            raise DataError(
                f"not enough frames: {len(sources)} sources with {sum(map(len, sources))} frames, none of them shared "
                f"by two devices, leave one of {devices} devices with {least} of {need} frames"
            )
        return [hand[:need] for hand in hands]


@dealings.register("iid")
@dataclass(frozen=True)
class Iid(Dealing):
    """Every device gets pictures drawn at random from all. flwr-datasets: ``IidPartitioner``."""

    def places(
        self, sources: Sequence[Source], devices: int, need: int, generator: np.random.Generator
    ) -> list[list[Place]]:
        everything = _enough(sources, devices, need)
        order = generator.permutation(len(everything))
        return [[everything[i] for i in order[d * need : (d + 1) * need]] for d in range(devices)]


@dealings.register("dirichlet")
@dataclass(frozen=True)
class Dirichlet(Dealing):
    """Classes are unevenly dealt: of each class, the devices' shares are drawn from a Dirichlet distribution.

    flwr-datasets: ``DirichletPartitioner`` with self-balancing (Li et al., *Federated Learning on Non-IID Data Silos*,
    ICDE 2022); here all devices get the same number of pictures: one that is short is filled up with pictures, drawn at
    random, that the others have too many of. A picture counts for the class of which it has most boxes; pictures
    without boxes are a class of their own.

    Attributes
    ----------
    alpha : of the distribution; 0.1 gives a device few classes, 100 gives all the same mix.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        if not 1e-3 <= self.alpha <= 1e6:
            raise ConfigError(f"dirichlet: alpha={self.alpha} is not in 0.001..1000000")

    def places(
        self, sources: Sequence[Source], devices: int, need: int, generator: np.random.Generator
    ) -> list[list[Place]]:
        everything = _enough(sources, devices, need)
        classes = np.array([_main_class(sources[source].shots[row]) for source, row in everything])
        hands: list[list[int]] = [[] for _ in range(devices)]
        for label in np.unique(classes):
            members = generator.permutation(np.flatnonzero(classes == label))
            shares = generator.dirichlet(np.full(devices, self.alpha))
            shares *= [len(hand) < len(everything) / devices for hand in hands]
            shares = shares / shares.sum() if shares.sum() > 0 else np.full(devices, 1 / devices)
            cuts = (np.cumsum(shares)[:-1] * len(members)).astype(int)
            for device, part in enumerate(np.split(members, cuts)):
                hands[device].extend(part.tolist())
        hands = [generator.permutation(hand).astype(int).tolist() for hand in hands]
        spare = [i for hand in hands for i in hand[need:]]
        spare = generator.permutation(spare).astype(int).tolist()
        full = []
        for hand in hands:
            kept = hand[:need]
            while len(kept) < need:
                kept.append(spare.pop())
            full.append([everything[i] for i in generator.permutation(kept)])
        return full


def deal(
    sources: Sequence[Source | Clip],
    n_devices: int,
    *,
    frames_per_clip: int,
    holdout: int,
    rounds: int = 1,
    how: str | Mapping[str, Any] = "sequence",
    seed: int = 0,
    broken: Broken | None = None,
    progress: Progress | None = None,
) -> list[Share]:
    """Deal every device ``rounds * frames_per_clip`` frames to train on and ``holdout`` frames held back.

    Only frames that are dealt are read. Those of a round that have several sizes become a clip for each size.

    Parameters
    ----------
    sources : what :func:`rinr_flower.datasets.sources` found, or clips.
    n_devices : how many shares.
    frames_per_clip : frames a device captures in a round.
    holdout : frames a device holds back for evaluation.
    rounds : rounds of capture.
    how : a way to deal, by name or as a mapping with ``name`` and options: ``sequence``, ``source``, ``iid``,
        ``dirichlet``.
    seed : of everything random; the same seed deals the same shares.
    broken : gathers pictures that cannot be read; if it leaves them out, others are dealt instead.
    progress : called with the fraction read.

    Raises
    ------
    ConfigError : a count below 1, or an unknown way to deal.
    DataError : too few frames; the text says how many there are and are needed, and what to lower. Or pictures that
        cannot be read.
    """
    for option, value in (
        ("n_devices", n_devices), ("frames_per_clip", frames_per_clip), ("holdout", holdout), ("rounds", rounds)
    ):  # fmt: skip
        if value < 1:
            raise ConfigError(f"{option} = {value} must be at least 1")
    pool = [of_clip(source) if isinstance(source, Clip) else source for source in sources]
    other = next((source for source in pool if source.class_names != pool[0].class_names), None)
    if other is not None:
        lists = [f"{source.name} has {', '.join(source.class_names)[:80]}" for source in (pool[0], other)]
        raise DataError(
            f"the clips name different classes: {'; '.join(lists)}; devices can only share clips with one list of "
            "class names: describe all in one YAML that has all names, or put the same classes.txt into every folder"
        )
    dealing = dealings.create(how)
    gathered = Broken() if broken is None else broken
    need = rounds * frames_per_clip + holdout
    while True:
        try:
            dealt = dealing.places(pool, n_devices, need, np.random.default_rng(seed))
        except DataError as error:
            raise DataError(
                f"{error} (rounds={rounds} x frames_per_clip={frames_per_clip} + holdout={holdout}); lower one of "
                "these or the number of devices, or give more data"
                f"{', or deal=iid' if sum(map(len, pool)) >= n_devices * need else ''}"
            ) from error
        groups = [_groups(pool, places, frames_per_clip, rounds) for places in dealt]
        found = read_groups([g for hand in groups for part in hand for g in part], gathered, progress)
        whole = [clip for clip in found if clip is not None]
        if sum(map(len, whole)) == n_devices * need:
            break
        # others are dealt instead
        pool = [source.of([shot for shot in source.shots if shot.name not in gathered.names]) for source in pool]
    shares, read = [], iter(whole)
    for device, hand in enumerate(groups):
        clips = [tuple(next(read) for _ in part) for part in hand]
        origins = {source for source, _ in dealt[device]}
        name = f"device-{device:02d}" + (f" ({pool[origins.pop()].name})" if len(origins) == 1 else "")
        shares.append(Share(as_name(name), tuple(clips[:-1]), clips[-1]))
    return shares


def _groups(pool: Sequence[Source], places: list[Place], frames_per_clip: int, rounds: int) -> list[list[Source]]:
    """The groups of shots that become the clips of every round and, last, of the frames held back."""
    cuts = [r * frames_per_clip for r in range(rounds + 1)]
    parts = [places[a:b] for a, b in zip(cuts, [*cuts[1:], len(places)], strict=True)]
    return [_part(pool, part) for part in parts]


def _part(pool: Sequence[Source], places: list[Place]) -> list[Source]:
    shots: dict[tuple[int, int], list[Shot]] = {}
    for source, row in sorted(places):
        shot = pool[source].shots[row]
        shots.setdefault(shot.size, []).append(shot)
    origins = {source for source, _ in places}
    name = pool[places[0][0]].name if len(origins) == 1 else "pictures"
    first = pool[places[0][0]]
    return [
        Source(f"{name} {w}x{h}" if len(shots) > 1 else name, same, first.class_names) for (w, h), same in shots.items()
    ]


def _rows(source: Source, generator: np.random.Generator) -> list[int]:
    """Numbers of a source's shots: in order where they are consecutive frames, else shuffled."""
    count = len(source)
    return list(range(count)) if source.is_sequence else generator.permutation(count).tolist()


def _enough(sources: Sequence[Source], devices: int, need: int) -> list[Place]:
    everything = [(number, row) for number, source in enumerate(sources) for row in range(len(source))]
    if len(everything) < devices * need:
        raise DataError(
            f"not enough frames: {len(everything)} in all, and {devices} devices need {need} each, "
            f"{devices * need} in all"
        )
    return everything


def _main_class(shot: Shot) -> int:
    """The class of which a picture has most boxes; -1 without boxes."""
    classes = shot.labels.classes
    return int(np.bincount(classes).argmax()) if len(classes) else -1
