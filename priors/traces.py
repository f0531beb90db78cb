"""What the coder meets in training clips: inputs of the context network, the magnitudes that came, and flags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rinr_flower.codecs.scene.format.adaptive import Observer, Tables
from rinr_flower.codecs.scene.format.code import SceneCode, flat
from rinr_flower.codecs.scene.format.lattice import Blocks, Kind, Lattice, Places
from rinr_flower.codecs.scene.format.network import DESCRIBED, ContextNetwork, Floats
from rinr_flower.codecs.scene.format.walk import Walk

INPUTS = 40  # of the pass that has most

Bytes = NDArray[np.uint8]


@dataclass
class Trace:
    """Coefficients (n,): the number of their pass, their inputs (n, INPUTS), classes (n, 5), and magnitudes."""

    number: Bytes
    inputs: Bytes
    classes: Bytes
    magnitude: Bytes


@dataclass
class Counted:
    """Bits by context, (contexts, 2): flags of blocks and of whole bands, and signs."""

    flags: NDArray[np.int64]
    occupied: NDArray[np.int64]
    signs: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Noting(ContextNetwork):
    """A network that notes what it is asked. Its choices are those of the network that it copies."""

    noted: list[tuple[int, Bytes, Bytes]] = field(default_factory=list)
    described: list[Bytes] = field(default_factory=list)

    def describe(self, lattice: Lattice, blocks: Blocks) -> Floats:
        slots = lattice.slots
        columns = [c[blocks.slot] for c in (slots.kind, slots.plane, slots.level, slots.orientation)]
        classes = np.stack([*columns, blocks.octave], axis=1).clip(0, np.array(DESCRIBED) - 1)
        self.described[:] = [classes.astype(np.uint8)]
        return super().describe(lattice, blocks)

    def tables(self, number: int, inputs: Bytes, described: Floats, block: Places) -> Places:
        self.noted.append((number, inputs, self.described[0][block]))
        return super().tables(number, inputs, described, block)


class _NotingWalk(Walk):
    def __init__(self, lattice: Lattice, source: Bytes, network: _Noting) -> None:
        coders = {Kind(k): Observer() for k in np.unique(lattice.slots.kind[1:])}
        super().__init__(lattice, coders, source, network=network)
        self.found: list[NDArray[np.int64]] = []
        self.counted = Counted(*(np.zeros_like(a) for a in (network.flags, network.occupied, network.signs)))

    def _code(self, tables: Tables, slot: Places, context: Places, symbols: NDArray[np.generic]) -> Places:
        kinds = self._lattice.slots.kind[slot]
        if tables is self.magnitudes:
            self.found.append(np.asarray(symbols, np.int64))
        else:
            found = {id(self._flags): self.counted.flags, id(self._occupied): self.counted.occupied}
            counts = found.get(id(tables), self.counted.signs)
            np.add.at(counts, (context + kinds * (len(tables) // len(Kind)), symbols.astype(np.int64)), 1)
        return super()._code(tables, slot, context, symbols)


def trace(code: SceneCode, network: ContextNetwork, limit: int, seed: int) -> tuple[Trace, Counted]:
    """At most ``limit`` coefficients of ``code``, chosen at random, and its flags and signs, all counted."""
    volumes = [(layout, bands) for layout, bands in code.volumes() if any(b.any() for b in flat(bands))]
    lattice = Lattice([layout for layout, _ in volumes])
    noting = _Noting(**{name: getattr(network, name) for name in ContextNetwork.__dataclass_fields__})
    given = lattice.fill([b for _, bands in volumes for b in flat(bands)], np.int32)
    walk = _NotingWalk(lattice, np.abs(given).clip(0, network.last).astype(np.uint8), noting)
    walk.levels()
    walk.finish(given)
    rng = np.random.default_rng(seed)
    share = min(1.0, limit / max(sum(map(len, walk.found)), 1))
    parts = list(_picked(noting, walk, rng, share))
    return Trace(*(np.concatenate(column) for column in zip(*parts, strict=True))), walk.counted


def _picked(noting: _Noting, walk: _NotingWalk, rng: np.random.Generator, share: float) -> Iterator[tuple[Bytes, ...]]:
    for (number, inputs, classes), magnitude in zip(noting.noted, walk.found, strict=True):
        pick = np.flatnonzero(rng.random(len(magnitude)) < share)
        wide = np.zeros((len(pick), INPUTS), np.uint8)
        wide[:, : inputs.shape[1]] = inputs[pick]
        yield np.full(len(pick), number, np.uint8), wide, classes[pick], magnitude[pick].astype(np.uint8)
