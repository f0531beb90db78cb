"""A second decoder of ``scene`` payloads by the rules of docs/format.md: slow and plain, numpy and Python's integers.

It shares no code with the product, only the two files of weights. ``decode`` takes what ``reference_coding.container``
finds in a payload: parts, boxes, classes, and (height, width) of the frames. It gives the frames at the working size as
float64 RGB, which is not cut off at 0 and 255.
"""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise
from math import cos, pi, sqrt

import numpy as np
from reference_coding import TOTAL, Bytes, Range, one_to_one

WEIGHTS = files("rinr_flower.codecs.scene.format")
with np.load(WEIGHTS.joinpath("context.npz").open("rb")) as _found:
    NET = {name: _found[name].astype(np.int64) for name in _found.files}
with np.load(WEIGHTS.joinpath("trunk.npz").open("rb")) as _found:
    TRUNK = {name: _found[name] / 64 for name in _found.files}
CANVAS, RESIDUAL, OBJECT, BEND = range(4)
LEVELS = [round(8 * np.log2(1 + m)) for m in range(21)]


class Tables:
    """Adaptive tables: all symbols of a call are coded with the tables as they stood before it."""

    def __init__(self, start: np.ndarray) -> None:
        self.counts = [row.tolist() for row in start]

    def read(self, coders: dict, kinds: list[int], contexts: list[int]) -> list[int]:
        found = [0] * len(contexts)
        before = {c: self.counts[c] for c in set(contexts)}
        for k in sorted(range(len(contexts)), key=lambda k: contexts[k]):
            row = before[contexts[k]]
            table = [max(c * TOTAL // sum(row), 1) for c in row]
            table[table.index(max(table))] += TOTAL - sum(table)
            found[k] = coders[kinds[k]].decode(table)
        for context in before:
            row = list(before[context])
            for k, symbol in enumerate(found):
                if contexts[k] == context:
                    row[symbol] += 16
            while sum(row) > 16 * 2048:
                row = [max(c // 2, 1) for c in row]
            self.counts[context] = row
        return found


class Band:
    """One band of one plane: magnitudes, flags of its blocks of 8 x 8, and flags of its octaves."""

    def __init__(self, kind: int, plane: int, number: int, bands: int, shape: tuple[int, int, int]) -> None:
        self.kind, self.plane, self.shape = kind, plane, shape
        deepest = (bands - 1) // 3
        self.orientation = (number - 1) % 3 if number else 3
        self.level = deepest - 1 - (number - 1) // 3 if number else deepest
        self.wave = number + plane
        self.values = np.zeros(shape, int)
        self.flags = np.zeros((shape[0], -(-shape[1] // 8), -(-shape[2] // 8)), int)
        self.alive: dict[int, int] = {}
        self.parent = self.sibling = self.other = self.beside = None

    def value(self, t: int, y: int, x: int) -> int:
        inside = 0 <= y < self.shape[1] and 0 <= x < self.shape[2]
        return LEVELS[self.values[t, y, x]] if inside else 0

    def sign(self, t: int, y: int, x: int) -> int:
        inside = 0 <= y < self.shape[1] and 0 <= x < self.shape[2]
        return self.signs[t, y, x] if inside else 0

    def sign_context(self, t: int, y: int, x: int, direct: int) -> int:
        """Signs of beside and, if ``direct``, of the four neighbours, as one number."""
        seen = 25 * self.beside.sign(t, y, x) if self.beside else 0
        if direct:
            seen += 5 * (self.sign(t, y - 1, x) + self.sign(t, y + 1, x))
            seen += self.sign(t, y, x - 1) + self.sign(t, y, x + 1)
        return seen

    def flag(self, t: int, by: int, bx: int) -> int:
        return self.flags[t, min(by, self.flags.shape[1] - 1), min(bx, self.flags.shape[2] - 1)]


def linked(kind: int, planes: list[list[tuple[int, int, int]]]) -> list[list[Band]]:
    """The bands of a volume, each with those that it looks at."""
    out: list[list[Band]] = []
    for p, shapes in enumerate(planes):
        bands = [Band(kind, p, n, len(shapes), s) for n, s in enumerate(shapes)]
        for n, band in enumerate(bands):
            band.parent = bands[n - 3] if n > 3 else None
            band.sibling = bands[n - 1] if band.orientation in (1, 2) else None
            band.other = bands[n - 2] if band.orientation == 2 else None
            for b in out[p - 1] if p else []:
                if (b.orientation, b.shape[1:]) == (band.orientation, band.shape[1:]) and b.wave < band.wave:
                    band.beside = b
        out.append(bands)
    return out


def pass_of(y: int, x: int) -> int:
    if y % 2 == 0 and x % 2 == 0:
        return 0 if (y + x) % 4 == 0 else 1
    return {(1, 1): 2, (0, 1): 3, (1, 0): 4}[y % 2, x % 2]


FAR = [(-2, 0), (2, 0), (0, -2), (0, 2)]
DIAGONAL = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
DIRECT = [(-1, 0), (1, 0), (0, -1), (0, 1)]
KNIGHT = [(-2, -1), (-2, 1), (2, -1), (2, 1), (-1, -2), (-1, 2), (1, -2), (1, 2)]
OWN = [[], FAR, DIAGONAL, DIRECT + KNIGHT, DIRECT + KNIGHT + DIAGONAL]


def table_of(band: Band, octave: int, t: int, y: int, x: int) -> int:
    """The table that the context network chooses for a coefficient."""
    inputs = []
    for source, when, half in (
        (band.parent, t, 2), (band.sibling, t, 1), (band.other, t, 1), (band.beside, t, 1),
        (band if t else None, t // 2, 1), (band if t else None, 0, 1),
    ):  # fmt: skip
        for group in ([(0, 0)], [(0, -1), (0, 1)], [(-1, 0), (1, 0)], DIAGONAL):
            inputs.append(sum(source.value(when, y // half + dy, x // half + dx) for dy, dx in group) if source else 0)
    number = pass_of(y, x)
    inputs += [band.value(t, y + dy, x + dx) for dy, dx in OWN[number]]
    classes = (band.kind, band.plane, min(band.level, 7), band.orientation, min(octave, 7))
    starts = np.cumsum([0, 4, 3, 8, 4])
    hidden = np.array(inputs) @ NET["first"][number][: len(inputs)]
    hidden += NET["passes"][number] + sum(NET["classes"][s + c] for s, c in zip(starts, classes, strict=True))
    hidden = (hidden >> NET["shifts"][0]).clip(0, 255) @ NET["second"] + NET["second_bias"]
    out = ((hidden >> NET["shifts"][1]).clip(0, 255) @ NET["third"] + NET["third_bias"]) >> NET["shifts"][2]
    count = len(NET["magnitudes"]) // 4
    return int(out[0].clip(0, count - 1)) + band.kind * count


def coefficients(volumes: list[list[list[Band]]], data: dict[int, bytes]) -> None:
    """Read the values of all bands, wave by wave."""
    coders = {kind: Range(part) for kind, part in sorted(data.items()) if part}
    bands = [b for planes in volumes for plane in planes for b in plane if b.kind in coders]
    occupied, flags, magnitudes, signs = (Tables(NET[n]) for n in ("occupied", "flags", "magnitudes", "signs"))
    cells: dict[int, list[tuple[Band, int, int, int]]] = {}
    for band in bands:
        octave, start = 0, 0
        while start < band.shape[0]:
            stop = min(max(2 * start, 1) if octave else 1, band.shape[0])
            cells.setdefault(band.wave + octave, []).append((band, octave, start, stop))
            octave, start = octave + 1, stop
    for wave in sorted(cells):
        contexts = []
        for band, octave, _, _ in cells[wave]:
            above = 1 + band.parent.alive.get(octave, 0) if band.parent else 0
            contexts.append(above + 3 * band.alive.get(octave - 1, 0) + 6 * band.kind)
        for cell, held in zip(
            cells[wave], occupied.read(coders, [c[0].kind for c in cells[wave]], contexts), strict=True
        ):
            cell[0].alive[cell[1]] = held
        blocks, contexts = [], []
        for band, octave, start, stop in cells[wave]:
            for t in range(start, stop) if band.alive[octave] else ():
                for by, bx in np.ndindex(band.flags.shape[1:]):
                    context = band.flag(t // 2, by, bx) if t else 0
                    context += 2 * (band.parent.flag(t, by // 2, bx // 2) if band.parent else 0)
                    context += 4 * sum(s.flag(t, by, bx) for s in (band.sibling, band.other) if s)
                    context += 12 * (band.beside.flag(t, by, bx) if band.beside else 0)
                    blocks.append((band, octave, t, by, bx))
                    contexts.append(context + 24 * band.kind)
        held = flags.read(coders, [b[0].kind for b in blocks], contexts)
        for (band, _, t, by, bx), flag in zip(blocks, held, strict=True):
            band.flags[t, by, bx] = flag
        blocks = [b for b, flag in zip(blocks, held, strict=True) if flag]
        for piece in range(0, len(blocks), 2048):
            for number in range(5):
                places = [
                    (band, octave, t, by * 8 + y, bx * 8 + x)
                    for band, octave, t, by, bx in blocks[piece : piece + 2048]
                    for y in range(8) for x in range(8)
                    if pass_of(y, x) == number and by * 8 + y < band.shape[1] and bx * 8 + x < band.shape[2]
                ]  # fmt: skip
                found = magnitudes.read(coders, [p[0].kind for p in places], [table_of(*p) for p in places])
                for (band, _, t, y, x), value in zip(places, found, strict=True):
                    band.values[t, y, x] = value
    half = [TOTAL // 2] * 2
    for kind, coder in coders.items():
        mine = [b for b in bands if b.kind == kind]
        places = [(b, at) for b in mine for at in zip(*np.nonzero(b.values == 20), strict=True)]
        for (band, at), value in zip(places, gamma(coder, kind, len(places), half), strict=True):
            band.values[at] = value + 19
        for band in mine:
            band.signs = np.zeros(band.shape, int)
        for plane, odd in np.ndindex(3, 2):
            places = [
                (b, *at) for b in mine if b.plane == plane for at in zip(*np.nonzero(b.values), strict=True)
                if (at[1] + at[2]) % 2 == odd
            ]  # fmt: skip
            seen = [band.sign_context(t, y, x, odd) for band, t, y, x in places]
            contexts = [
                12 * abs(s) + 3 * p[0].orientation + plane + 456 * kind for s, p in zip(seen, places, strict=True)
            ]
            pieces = [contexts[k : k + 2048] for k in range(0, len(contexts), 2048)]
            found = [s for piece in pieces for s in signs.read(coders, [kind] * len(piece), piece)]
            for (band, *at), s, symbol in zip(places, seen, found, strict=True):
                band.signs[tuple(at)] = 1 - 2 * (symbol ^ (s < 0))
        for band in mine:
            band.values *= band.signs


def gamma(coder: Range, kind: int, count: int, half: list[int]) -> list[int]:
    """Elias-gamma codes of ``count`` values, bit plane by bit plane."""
    tables, lengths, growing = Tables(NET["lengths"]), [0] * count, list(range(count))
    while growing:
        place = min(lengths[growing[0]], 20)
        more = tables.read({kind: coder}, [kind] * len(growing), [place] * len(growing))
        growing = [k for k, yes in zip(growing, more, strict=True) if yes]
        for k in growing:
            lengths[k] += 1
    out = [1] * count
    for bit in range(max(lengths, default=0)):
        for k in range(count):
            if lengths[k] > bit:
                out[k] = 2 * out[k] + coder.decode(half)
    return out


def band_shapes(frames: int, height: int, width: int) -> list[tuple[int, int, int]]:
    sizes = [(height, width)]
    while len(sizes) <= 6 and min(sizes[-1]) >= 8:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    out = [(frames, *sizes[-1])]
    for (h, w), (lh, lw) in zip(sizes[-2::-1], sizes[:0:-1], strict=True):
        out += [(frames, lh, w - lw), (frames, h - lh, lw), (frames, h - lh, w - lw)]
    return out


def merged(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """One level of the inverse CDF 9/7 lifting along the first axis."""
    out = np.zeros((len(low) + len(high), *low.shape[1:]))
    out[0::2], out[1::2] = low / 1.149604398, high * 1.149604398
    n = len(out)
    for parity, weight in ((0, -0.443506852), (1, -0.882911076), (0, 0.052980118), (1, 1.586134342)):
        for k in range(parity, n, 2) if n > 1 else ():
            before, after = (k - 1 if k else 1), (k + 1 if k + 1 < n else n - 2)
            out[k] += weight * (out[before] + out[after])
    return out


def pictures(bands: list[Band], step: float) -> np.ndarray:
    """The planes (frames, h, w) of which ``bands`` are the transform."""
    values = [b.values - 0.04 * np.sign(b.values) * (np.abs(b.values) == 1) for b in bands]
    low = values[0]
    for hl, lh, hh in zip(values[1::3], values[2::3], values[3::3], strict=True):
        left = merged(low.swapaxes(0, 1), lh.swapaxes(0, 1)).swapaxes(0, 1)
        right = merged(hl.swapaxes(0, 1), hh.swapaxes(0, 1)).swapaxes(0, 1)
        low = np.moveaxis(merged(np.moveaxis(left, 2, 0), np.moveaxis(right, 2, 0)), 0, 2)
    n = len(low)
    basis = np.array([[cos(pi * (t + 0.5) * k / n) * sqrt((2 if k else 1) / n) for t in range(n)] for k in range(n)])
    return np.einsum("kt,khw->thw", basis, low) * step


def synthesised(planes: list[np.ndarray], head: np.ndarray | None, step: float, share: float | np.ndarray) -> None:
    """Add what a head makes of the trunk's features."""
    if head is None:
        return
    frames, height, width = planes[0].shape
    padded = np.pad(planes[0] / step, ((0, 0), (2, 2), (2, 2)), "edge")
    taps = np.stack([padded[:, y : y + height, x : x + width] for y in range(5) for x in range(5)])
    hidden = np.einsum("uk,kthw->uthw", TRUNK["first"].reshape(-1, 25), taps)
    hidden = (hidden + TRUNK["first_bias"][:, None, None, None]).clip(0)
    found = np.einsum("fu,uthw->fthw", TRUNK["second"], hidden) + TRUNK["second_bias"][:, None, None, None]
    features = np.concatenate([found.clip(0), np.ones((1, frames, height, width))])
    for k, added in enumerate(np.einsum("cf,fthw->cthw", head / 32 * step, features)):
        planes[k] += added * share


def sampled(plane: np.ndarray, x: np.ndarray, y: np.ndarray, cubic: bool) -> np.ndarray:
    """``plane`` (h, w) at points, pixel centres at +0.5, its border repeated; cubic convolution with a = -0.75."""

    def weights(fraction: np.ndarray) -> list[np.ndarray]:
        if not cubic:
            return [0 * fraction, 1 - fraction, fraction, 0 * fraction]
        near = [((1.25 * d - 2.25) * d * d + 1) for d in (fraction, 1 - fraction)]
        far = [((-0.75 * d + 3.75) * d - 6) * d + 3 for d in (fraction + 1, 2 - fraction)]
        return [far[0], near[0], near[1], far[1]]

    height, width = plane.shape
    x, y = x - 0.5, y - 0.5
    if not cubic:
        x, y = x.clip(0, width - 1), y.clip(0, height - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    out = np.zeros_like(x)
    for j, wy in enumerate(weights(y - top)):
        for i, wx in enumerate(weights(x - left)):
            out += wy * wx * plane[(top + j - 1).clip(0, height - 1), (left + i - 1).clip(0, width - 1)]
    return out


def mapped(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    return tuple((matrix[k, 0] * x + matrix[k, 1] * y + matrix[k, 2]) / depth for k in (0, 1))  # type: ignore[return-value]


def homography(moved: np.ndarray, width: int, height: int) -> np.ndarray:
    """The map that moves the corners of a picture by ``moved`` (4, 2) pixels."""
    rows, values = [], []
    for (x, y), (dx, dy) in zip([(0, 0), (width, 0), (0, height), (width, height)], moved, strict=True):
        u, v = x + dx, y + dy
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(rows, values), 1).reshape(3, 3)


def tracks(boxes: list[np.ndarray], classes: list[np.ndarray]) -> list[list[tuple[int, int]]]:
    """Boxes linked over frames: lists of (frame, row). The nearest pairs first, in sixteenths of a pixel."""
    found: list[list[tuple[int, int]]] = []
    for t, (here, labels) in enumerate(zip(boxes, classes, strict=True)):
        whole = np.rint(np.asarray(here, float) * 16).astype(int)
        pairs = []
        for k, track in enumerate(found):
            last, row = track[-1]
            before = np.rint(np.asarray(boxes[last][row], float) * 16).astype(int)
            for r, box in enumerate(whole):
                if t - last <= 3 and classes[last][row] == labels[r]:
                    apart = np.abs(box[:2] + box[2:] - before[:2] - before[2:]).max()
                    if apart <= 2 * ((box[2:] - box[:2]).max() + (before[2:] - before[:2]).max()):
                        pairs.append((apart, k, r))
        linked = one_to_one(pairs)
        for k, r in linked:
            found[k].append((t, r))
        begun = set(range(len(whole))) - {r for _, r in linked}
        found += [[(t, r)] for r in sorted(begun)]
    return found


def pieces(items: list, count: int) -> list[list]:
    """``items`` cut into ``count`` runs of about equal length, longer ones first."""
    least, more = divmod(len(items), count)
    stops = np.cumsum([0] + [least + 1] * more + [least] * (count - more))
    return [items[a:b] for a, b in pairwise(stops)]


def sums(values: np.ndarray, rows: list[int], columns: int) -> list[np.ndarray]:
    stops = np.cumsum([0, *rows]) * columns
    return [values[a:b].reshape(columns, -1).cumsum(axis=1).T for a, b in pairwise(stops)]


def decode(
    parts: dict[str, bytes], boxes: list[np.ndarray], classes: list[np.ndarray], picture: tuple[int, int]
) -> np.ndarray:
    head, motion, objects = (Bytes(parts.get(name, b"")) for name in ("background", "motion", "object"))
    head.varint()
    height, width = size = head.varint(), head.varint()
    form, step, object_step = head.u8(), head.u8(), head.u8()
    grey, scale = bool(form & 1), 1 << (form >> 1)
    shots = []
    for _ in range(head.varint()):
        frames, flags = head.varint(), head.u8()
        canvas = (head.varint(), head.varint()) if flags & 8 else size
        origin = (head.signed(), head.signed()) if flags & 8 else (0, 0)
        shots.append((frames, flags, canvas, origin))
    shot_of = np.repeat(np.arange(len(shots)), [s[0] for s in shots])
    runs = []
    for track in tracks(boxes, classes):
        cuts = [k for k in range(1, len(track)) if shot_of[track[k][0]] != shot_of[track[k - 1][0]]]
        runs += [track[a:b] for a, b in zip([0, *cuts], [*cuts, len(track)], strict=True)]
    layers = [piece for run in runs for piece in pieces(run, head.varint())]
    moving = [s for s in shots if s[1] & 1]
    moves = sums(motion.block(8 * sum(s[0] for s in moving)), [s[0] for s in moving], 8) if "motion" in parts else []
    poses = sums(motion.block(6 * sum(map(len, layers))), [len(layer) for layer in layers], 6) if layers else []
    if "motion" in parts and not layers:
        motion.block(0)
    fields = [
        ((objects.varint(), objects.varint()), objects.signed(), [objects.varint() for _ in range(4)]) for _ in layers
    ]
    cells = [tuple(min(max(n // 8, 2), 8) for n in f[0]) for f in fields]
    masks = objects.block(sum(h * w for h, w in cells)) if layers else np.zeros(0)
    canvas_head = object_head = None
    if "heads" in parts:
        heads = Bytes(parts["heads"])
        heads.varint()
        rows = heads.u8()
        table = heads.block(13 * (rows % 4 + rows // 4)).reshape(-1, 13)
        canvas_head = table[:1] if rows % 4 else None
        object_head = table[rows % 4 :] if rows // 4 else None

    def planes(frames: int, h: int, w: int, full: bool = False) -> list[list[tuple[int, int, int]]]:
        half = (h, w) if full else ((h + 1) // 2, (w + 1) // 2)
        return [band_shapes(frames, h, w)] + ([] if grey else [band_shapes(frames, *half)] * 2)

    grid = (max(height // 40, 2), max(width // 40, 2))
    canvases = [linked(CANVAS, planes(1, *s[2])) for s in shots]
    residuals = [
        linked(RESIDUAL, planes(s[0], -(-height // scale), -(-width // scale))) if s[1] & 4 else [] for s in shots
    ]
    volumes = [linked(OBJECT, planes(len(t), *f[0], full=True)) for t, f in zip(layers, fields, strict=True)]
    bends = [linked(BEND, [band_shapes(s[0], *grid)] * 2) if s[1] & 2 else [] for s in shots]
    rest = {k: p.data[p.at :] for k, p in ((RESIDUAL, head), (OBJECT, objects), (BEND, motion))}
    coefficients([*canvases, *residuals, *volumes, *bends], {CANVAS: parts.get("canvas", b""), **rest})

    def restored(volume: list[list[Band]], step: float, chroma: float) -> list[np.ndarray]:
        return [pictures(bands, step * (chroma if p else 1)) for p, bands in enumerate(volume)]

    y, x = (v + 0.5 for v in np.mgrid[0:height, 0:width].astype(float))
    out = []
    step = 2 ** (step / 16)
    for (frames, flags, _, origin), own, extra, bend in zip(shots, canvases, residuals, bends, strict=True):
        fine = step / sqrt(max(frames, 4))
        below = restored(own, fine, 0.55)
        synthesised(below[:1], canvas_head, fine, 1.0)
        below = [np.rint(p).clip(-128, 127)[0] for p in below]
        over = [np.rint(p).clip(-128, 127) for p in restored(extra, step / scale, 0.55)]
        bent = [np.rint(pictures(b, 4.0)).clip(-127, 127) / 8 for b in bend]
        moved = moves.pop(0) if flags & 1 else None
        for k in range(frames):
            matrix = np.eye(3) if moved is None else homography(moved[k].reshape(4, 2) / 8, width, height)
            at = mapped(np.array([[1, 0, origin[0]], [0, 1, origin[1]], [0, 0, 1]]) @ matrix, x, y)
            if bent:
                cell = (x * grid[1] / width, y * grid[0] / height)
                at = tuple(a + sampled(b[k], *cell, cubic=False) for a, b in zip(at, bent, strict=True))
            frame = []
            for p, plane in enumerate(below):
                ratio = (plane.shape[1] / below[0].shape[1], plane.shape[0] / below[0].shape[0])
                seen = sampled(plane, at[0] * ratio[0], at[1] * ratio[1], cubic=p == 0)
                if over:
                    h, w = over[p].shape[1:]
                    seen = seen + sampled(over[p][k], x * w / width, y * h / height, cubic=False)
                frame.append(seen)
            out.append(np.stack(frame))
    ratio = np.array([width / picture[1], height / picture[0]] * 2)
    for track, ((h, w), finer, margins), (rows, columns), volume, pose in zip(
        layers, fields, cells, volumes, poses, strict=True
    ):
        mask, masks = masks[: rows * columns].reshape(rows, columns) / 15, masks[rows * columns :]
        left, top, right, bottom = margins
        most = min(max(8, min(height, width) // 12), 32)
        apron = min(max(4, round(1.5 * min(h - top - bottom, w - left - right))), most)
        gate = [(1 - np.cos(pi * (np.minimum(a := np.arange(n) + 0.5, n - a) / apron).clip(0, 1))) / 2 for n in (h, w)]
        fine = 2 ** ((object_step - finer) / 16)
        shown = restored(volume, fine, 1.0)
        synthesised(shown, object_head, fine, np.outer(*gate))
        shown = [np.rint(p).clip(-32768, 32767) for p in shown]
        for k, (t, row) in enumerate(track):
            x1, y1, x2, y2 = np.asarray(boxes[t][row], float) * ratio
            sx, sy = (w - left - right) / max(x2 - x1, 1e-3), (h - top - bottom) / max(y2 - y1, 1e-3)
            base = np.array([[sx, 0, left - sx * x1], [0, sy, top - sy * y1], [0, 0, 1]])
            (ax, ay), (bx, by), (cx, cy) = pose[k].reshape(3, 2) / 8
            fix = np.array([[1 + (bx - ax) / w, (cx - ax) / h, ax], [(by - ay) / w, 1 + (cy - ay) / h, ay], [0, 0, 1]])
            u, v = mapped(fix @ base, x, y)
            inside = (u > 0) & (u < w) & (v > 0) & (v < h)
            edge = np.minimum(np.minimum(u, w - u), np.minimum(v, h - v)).clip(0, 1)
            hides = sampled(mask, u * columns / w, v * rows / h, cubic=False)
            for p, plane in enumerate(shown):
                over = edge * (sampled(plane[k], u, v, cubic=True) - hides * out[t][p])
                out[t][p] += np.where(inside, over, 0)
    if grey:
        return np.stack([np.repeat(f + 128, 3, axis=0) for f in out]).transpose(0, 2, 3, 1)
    found = []
    for luma, blue, red in out:
        found.append([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    return np.array(found).transpose(0, 2, 3, 1) + 128
