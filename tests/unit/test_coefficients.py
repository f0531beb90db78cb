"""Entropy coding of wavelet pyramids: what is written is read, whatever the volumes of a payload look like."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scene_clips
import torch
from scene_clips import SIZE, clip_of, coefficients_digest, crafted, texture
from threadpoolctl import threadpool_info

from rinr_flower.codecs.scene.decode.volume import forward
from rinr_flower.codecs.scene.encode.costs import observe
from rinr_flower.codecs.scene.encode.quantise import quantise
from rinr_flower.codecs.scene.format import ahead, walk
from rinr_flower.codecs.scene.format.adaptive import Observer
from rinr_flower.codecs.scene.format.ahead import Call
from rinr_flower.codecs.scene.format.code import layout_of
from rinr_flower.codecs.scene.format.lattice import BLOCK, Blocks, Ints, Kind, Lattice, Layout
from rinr_flower.codecs.scene.format.neighbours import OWN, PASSES, Neighbours
from rinr_flower.codecs.scene.format.network import ContextNetwork, shipped
from rinr_flower.codecs.scene.format.shapes import VolumeShape
from rinr_flower.codecs.scene.format.walk import Walk, read, write
from rinr_flower.errors import PayloadError

LAST = shipped().last
VOLUMES = [
    (Kind.CANVAS, (1, 70, 90)),
    (Kind.CANVAS, (1, 4, 4)),
    (Kind.RESIDUAL, (5, 33, 18)),
    (Kind.OBJECT, (32, 20, 40)),
    (Kind.OBJECT, (3, 9, 7)),
    (Kind.OBJECT, (1, 70, 90)),
]


def layouts(volumes: list[tuple[Kind, tuple[int, int, int]]], grey: bool) -> list[Layout]:
    return [layout_of(kind, VolumeShape(*v, grey, full_chroma=kind == Kind.OBJECT)) for kind, v in volumes]


def sparse(wanted: list[Layout], seed: int, spread: float = 1.0) -> list[Ints]:
    """Values as wavelets have them: fewer and smaller in finer bands and at higher time frequencies."""
    rng = np.random.default_rng(seed)
    out = []
    for layout in wanted:
        for plane in layout.planes:
            for number, shape in enumerate(plane):
                scale = spread * 6 / (1 + number) / (1 + np.arange(shape[0]))[:, None, None]
                out.append(np.rint(rng.laplace(0, scale, shape)).astype(np.int32))
    return out


def same(a: list[Ints], b: list[Ints]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("grey", [True, False], ids=["grey", "colour"])
@pytest.mark.parametrize("volumes", [VOLUMES[:1], VOLUMES[1:2], VOLUMES], ids=["one", "tiny", "six"])
def test_what_is_written_is_read(volumes: list[tuple[Kind, tuple[int, int, int]]], grey: bool) -> None:
    wanted = layouts(volumes, grey)
    for seed, spread in ((0, 1.0), (1, 0.1), (2, 30.0)):
        given = sparse(wanted, seed, spread)
        assert same(read(wanted, write(wanted, given)), given)


def test_values_beyond_the_tables_are_read() -> None:
    wanted = layouts(VOLUMES[:3], True)
    given = sparse(wanted, 0)
    given[0][0, 0, 0], given[-1][2, 0, 0] = 70_000, -LAST
    assert same(read(wanted, write(wanted, given)), given)


def test_a_kind_without_values_costs_nothing() -> None:
    wanted = layouts(VOLUMES, True)
    given = sparse(wanted, 0)
    data = write(wanted, [np.zeros_like(b) if b.shape[0] == 5 else b for b in given])
    assert data[Kind.RESIDUAL] == b""
    back = read(wanted, data)
    assert all(same([a], [b]) for a, b in zip(back, given, strict=True) if b.shape[0] != 5)
    assert not any(b.any() for b in back if b.shape[0] == 5)


def test_the_costs_observed_are_those_paid() -> None:
    wanted = layouts([v for v in VOLUMES if v[0] == Kind.OBJECT], True)
    given = sparse(wanted, 3)
    lattice = Lattice(wanted)
    found, bits = observe(lattice, lattice.fill([np.abs(b) for b in given], np.int32))
    tables = lattice.bands(found)
    paid = sum(
        bits[t, np.minimum(np.abs(b), LAST)][t >= 0].sum() + np.count_nonzero(b)
        for b, t in zip(given, tables, strict=True)
    )
    assert 0.85 < paid / (8 * len(write(wanted, given)[Kind.OBJECT])) < 1  # flags, and learning, cost too


@pytest.mark.parametrize("at_once", [3, 40, 2048])
def test_calls_ahead_are_those_of_the_traversal(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Pieces of waves, whole waves, and many waves together."""
    monkeypatch.setattr(ahead, "BLOCKS_AT_ONCE", at_once)
    monkeypatch.setattr(walk, "BLOCKS_AT_ONCE", at_once)
    wanted = layouts(VOLUMES, False)
    lattice = Lattice(wanted)
    source = np.minimum(np.abs(lattice.fill(sparse(wanted, 4), np.int32)), LAST).astype(np.uint8)
    asked: list[list[object]] = []

    class Noting(Walk):
        def _values(self, blocks: Blocks) -> None:
            asked.append([])
            super()._values(blocks)

        def _asked(self, blocks: Blocks) -> Iterator[Call]:
            for call in super()._asked(blocks):
                asked[-1].append(call)
                yield call

    Noting(lattice, {v.kind: Observer() for v in wanted}, source).levels()
    found = list(ahead.calls_ahead(Lattice(wanted), source, shipped()))
    assert [len(piece) for piece in found] == [len(piece) for piece in asked]
    for mine, theirs in zip(found, asked, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert all(map(np.array_equal, one, other))


@pytest.mark.parametrize("seed", range(3))
def test_the_tables_observed_are_those_of_the_traversal(seed: int) -> None:
    """Over symbols enough for counts to be halved."""
    wanted = layouts([v for v in VOLUMES if v[0] == Kind.OBJECT], False)
    lattice = Lattice(wanted)
    given = lattice.fill([np.abs(b) for b in sparse(wanted, seed, spread=4)], np.int32)
    contexts, bits = observe(lattice, given)
    source = np.minimum(given, LAST).astype(np.uint8)
    traversal = Walk(Lattice(wanted), {Kind.OBJECT: Observer()}, source)
    traversal.levels()
    np.testing.assert_array_equal(bits, traversal.magnitudes.bits())
    assert np.count_nonzero(contexts >= 0) >= np.count_nonzero(source)
    np.testing.assert_array_equal(lattice.values[: lattice.size], source)


def test_nothing_costs_nothing() -> None:
    lattice = Lattice(layouts(VOLUMES, False))
    contexts, bits = observe(lattice, np.zeros(lattice.size, np.int32))
    assert (contexts == -1).all()
    assert (bits > 0).all()


def test_the_signs_of_a_picture_cost_less_than_signs_by_chance() -> None:
    picture = texture(180, 240, seed=3)[..., :1].transpose(2, 0, 1) - 128
    layout = layout_of(Kind.CANVAS, VolumeShape(1, 180, 240, grey=True))
    given = [np.rint(band / 8).astype(np.int32) for band in forward([picture])[0]]
    rng = np.random.default_rng(0)
    by_chance = [np.abs(b) * rng.choice((-1, 1), b.shape) for b in given]
    of_picture, random = (len(write([layout], bands)[Kind.CANVAS]) for bands in (given, by_chance))
    assert random - of_picture > 0.04 * sum(map(np.count_nonzero, given)) / 8


def test_an_error_that_counts_less_is_spent_fewer_bits_on() -> None:
    layout = layouts([(Kind.CANVAS, (1, 70, 90))], True)[0]
    volume = [[b.astype(np.float32) * 1.3 for b in sparse([layout], 2)]]
    weights = [[np.linspace(1, 0.02, b.shape[2], dtype=np.float32) + 0 * b for b in volume[0]]]
    ((even,),), ((weighted,),) = (quantise(Kind.CANVAS, [volume], [[1.0]], 2, w) for w in (None, [weights]))
    left, right = (
        [sum(int(np.abs(half(b)).sum()) for b in plane) for plane in (even, weighted)]
        for half in (lambda b: b[..., : b.shape[2] // 4], lambda b: b[..., -(b.shape[2] // 4) :])
    )
    assert abs(left[1] / left[0] - 1) < 0.1
    assert right[1] < 0.6 * right[0]


@pytest.mark.parametrize(("cut", "match"), [(1, "truncated"), (None, "nothing is coded")])
def test_truncated_and_superfluous_coefficients_are_refused(cut: int | None, match: str) -> None:
    wanted = layouts(VOLUMES[:1], True)
    data = write(wanted, sparse(wanted, 0))
    altered = {Kind.CANVAS: data[Kind.CANVAS][:-cut]} if cut else data | {Kind.OBJECT: bytes(4)}
    with pytest.raises(PayloadError, match=match):
        read(wanted, altered)


def test_a_pass_looks_only_at_passes_before_it() -> None:
    of = np.empty((BLOCK, BLOCK), int)
    for number, places in enumerate(PASSES):
        of.reshape(-1)[places] = number
    for number, (places, own) in enumerate(zip(PASSES, OWN, strict=True)):
        for y, x in zip(places // BLOCK, places % BLOCK, strict=True):
            assert all(of[(y + dy) % BLOCK, (x + dx) % BLOCK] < number for dy, dx in own)


def asked(blocks_at_once: int) -> list[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Inputs of the network for all blocks of a lattice, in pieces."""
    wanted = layouts(VOLUMES, False)
    lattice = Lattice(wanted)
    rng = np.random.default_rng(0)
    lattice.values[1 : lattice.size] = np.minimum(rng.geometric(0.4, lattice.size - 1) - 1, LAST)
    slot, octave = (np.concatenate(column) for column in zip(*lattice.waves(), strict=True))
    traversal = Walk(lattice, {}, lattice.values)
    traversal._code = lambda tables, slot, context, symbols: np.ones(len(slot), np.int64)  # type: ignore[method-assign]
    blocks = traversal._blocks(slot, octave)
    network, out = shipped(), []
    for start in range(0, len(blocks), blocks_at_once):
        part = blocks.only(slice(start, start + blocks_at_once))
        around, described = Neighbours(lattice, part), network.describe(lattice, part)
        for number in range(len(PASSES)):
            place, block, inputs = around.look(number)
            out.append((number, place, inputs, described, block))
    return out


def exact(network: ContextNetwork, number: int, inputs: np.ndarray, described: np.ndarray, block: np.ndarray) -> object:
    """The network in Python's integers of any size, by way of float64 arrays that hold them exactly."""
    one, two, three = (int(s) for s in network.shifts)
    hidden = inputs.astype(np.int64) @ network.first[number][: inputs.shape[1]].astype(np.int64)
    hidden += described.astype(np.int64)[block] + network.passes[number]
    hidden = (hidden >> one).clip(0, 255) @ network.second.astype(np.int64) + network.second_bias
    out = ((hidden >> two).clip(0, 255) @ network.third.astype(np.int64) + network.third_bias) >> three
    return out.clip(0, network.table_count - 1)


def test_every_device_chooses_the_same_tables() -> None:
    """Whatever the size of the batch and the number of threads: as 64-bit integers and float64 say."""
    network = shipped()
    for number, _, inputs, described, block in asked(64):
        whole = network.tables(number, inputs, described, block)
        np.testing.assert_array_equal(whole, exact(network, number, inputs, described, block))
        single = [
            network.tables(number, inputs[i : i + 1], described, block[i : i + 1])[0] for i in range(0, len(block), 97)
        ]
        np.testing.assert_array_equal(whole[::97], single)
    threads = torch.get_num_threads()
    number, _, inputs, described, block = asked(1 << 20)[-1]
    expected = network.tables(number, inputs, described, block)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for kind in (torch.float32, torch.float64):
                found = in_torch(network, number, inputs, described, block, kind)
                np.testing.assert_array_equal(found, expected)
    finally:
        torch.set_num_threads(threads)


READ = """
import sys
from pathlib import Path
from scene_clips import coefficients_digest
from threadpoolctl import threadpool_info
print(*{i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"})
print(coefficients_digest(Path(sys.argv[1]).read_bytes()))
"""


@pytest.mark.skipif(
    platform.machine() != "x86_64" or all(i["internal_api"] != "openblas" for i in threadpool_info()),
    reason="needs the OpenBLAS of numpy's wheels for x86",
)
def test_other_processors_read_the_same_coefficients(tmp_path: Path) -> None:
    """Their matrix products have other kernels and numbers of threads."""
    file, path = tmp_path / "clip.rinr", [str(Path(scene_clips.__file__).parent), os.environ.get("PYTHONPATH", "")]
    file.write_bytes(crafted(clip_of(4), SIZE, [4], seed=0, canvas=(98, 138)))
    started = {}
    for core, threads in (("Haswell", 1), ("Nehalem", 3)):
        setting = {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": str(threads), "PYTHONPATH": os.pathsep.join(path)}
        command = [sys.executable, "-c", READ, str(file)]
        started[core] = subprocess.Popen(command, env=os.environ | setting, stdout=subprocess.PIPE, text=True)
    expected = coefficients_digest(file.read_bytes())
    assert {core: process.communicate()[0].split() for core, process in started.items()} == {
        core: [core, expected] for core in started
    }


def in_torch(
    network: ContextNetwork,
    number: int,
    inputs: np.ndarray,
    described: np.ndarray,
    block: np.ndarray,
    kind: torch.dtype,
) -> np.ndarray:
    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values.astype(np.float64)).to(kind)

    hidden = tensor(inputs) @ tensor(network.first[number][: inputs.shape[1]])
    hidden += tensor(described)[block] + tensor(network.passes[number])
    hidden = (hidden * 2.0 ** -int(network.shifts[0])).floor().clamp(0, 255) @ tensor(network.second)
    hidden = ((hidden + tensor(network.second_bias)) * 2.0 ** -int(network.shifts[1])).floor().clamp(0, 255)
    out = (hidden @ tensor(network.third) + tensor(network.third_bias)) * 2.0 ** -int(network.shifts[2])
    return out.floor().clamp(0, network.table_count - 1).long().numpy()


def test_sums_stay_where_float32_is_exact() -> None:
    network = shipped()
    first = np.abs(network.first.astype(np.int64)).sum(axis=1).max() * 255
    classes = np.abs(network.classes.astype(np.int64)).max(axis=0).max() * 5 + np.abs(network.passes.astype(int)).max()
    second = np.abs(network.second.astype(np.int64)).sum(axis=0).max() * 255 + np.abs(network.second_bias).max()
    third = np.abs(network.third.astype(np.int64)).sum() * 255 + np.abs(network.third_bias).max()
    assert max(first + classes, second, third) < 1 << 24


def test_another_network_has_another_digest() -> None:
    network = shipped()
    third = network.third.copy()
    third[0] += 1
    assert replace(network, third=third).digest != network.digest
    assert ContextNetwork.from_bytes(network.to_bytes()).digest == network.digest
