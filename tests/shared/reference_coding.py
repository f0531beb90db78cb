"""The container, fields, integer blocks and the two entropy coders of docs/format.md, in Python's integers."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from struct import unpack_from
from zlib import crc32

import numpy as np

TOTAL, WHOLE, WORD = 1 << 16, 1 << 24, 1 << 32
PARTS = ("background", "object", "heads", "motion", "canvas")


class Bytes:
    """Fields of a part, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def raw(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.raw(1)[0]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        value = self.varint()
        return -(value + 1) // 2 if value & 1 else value // 2

    def blob(self) -> bytes:
        return self.raw(self.varint())

    def rest(self) -> bytes:
        return self.raw(len(self.data) - self.at)

    def block(self, count: int) -> np.ndarray:
        """An integer block behind its length."""
        return Bytes(self.blob()).integers(count)

    def integers(self, count: int) -> np.ndarray:
        """An integer block that reaches to the end."""
        if count == 0:
            return np.zeros(0, int)
        form = self.u8()
        if form == 0:
            return np.array([self.signed() for _ in range(count)])
        if form == 1:
            scale, zeros = self.u8(), self.u8()
            escapes = [self.signed() for _ in range(self.varint())]
            ratio, weight, half = min(1016, 16 + 8 * scale), 1 << 30, []
            for _ in range(255):
                half.append(max(weight, 1 << 12))
                weight = weight * ratio >> 10
            centre = max(1, 2 * sum(half) * zeros // (256 - zeros))
            found = ans(self.rest(), normalised([*half[::-1], centre, *half]), count) - 255
            found[np.abs(found) == 255] = escapes
            return found
        low, table, size = self.signed(), [], self.varint()
        while len(table) < size:
            value = self.varint()
            table += [0] * (self.varint() + 1) if value == 0 else [value]
        return ans(self.rest(), table, count) + low


@dataclass(frozen=True, eq=False)
class Container:
    """A payload: boxes (n, 4) as x1, y1, x2, y2 in pixels and classes (n,) of every frame, and the codec's parts."""

    codec: str
    width: int
    height: int
    names: list[str]
    boxes: list[np.ndarray]
    classes: list[np.ndarray]
    parts: dict[str, bytes]


def container(data: bytes) -> Container:
    magic, version, length, checksum = unpack_from("<4sBII", data)
    body = data[13:]
    if (magic, version, length, checksum) != (b"RINR", 1, len(body), crc32(body)):
        raise ValueError("no payload of version 1")
    fields = Bytes(body)
    codec, frames, width, height = fields.blob().decode("ascii"), fields.varint(), fields.varint(), fields.varint()
    names = [fields.blob().decode("utf-8") for _ in range(fields.varint())]
    boxes, classes = box_table(Bytes(fields.blob()), frames)
    parts = {PARTS[fields.u8()]: fields.blob() for _ in range(fields.u8())}
    if fields.rest():
        raise ValueError("bytes after the last part")
    return Container(codec, width, height, names, boxes, classes, parts)


def box_table(table: Bytes, frames: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Boxes and classes of every frame: differences from the same row of the frame before, summed up."""
    unit, counts = 1 << table.u8(), np.cumsum(table.block(frames)).tolist()
    total = sum(counts)
    labels = table.block(total) if total else np.zeros(0, int)
    columns = np.concatenate([table.integers(4 * total), labels]).reshape(5, total)
    boxes, classes, at, before = [], [], 0, np.zeros((0, 5), int)
    for count in counts:
        rows = columns[:, at : at + count].T.copy()
        known = min(count, len(before))
        rows[:known] += before[:known]
        at, before = at + count, rows
        boxes.append(np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / unit)
        classes.append(rows[:, 4])
    return boxes, classes


def one_to_one(pairs: list[tuple]) -> list[tuple[int, int]]:
    """Of pairs (..., track, row) the best, each track and each row once: least first, as docs/format.md links them."""
    taken: list[tuple[int, int]] = []
    for *_, track, row in sorted(pairs):
        if all(track != other and row != beside for other, beside in taken):
            taken.append((track, row))
    return taken


def normalised(counts: list[int]) -> list[int]:
    """Counts scaled to TOTAL; the largest give up, or take, what is left over."""
    out = [max(c * TOTAL // sum(counts), 1) if c else 0 for c in counts]
    left = TOTAL - sum(out)
    for k in sorted(range(len(out)), key=lambda k: -out[k]):
        change = left if left > 0 else max(left, 1 - out[k])
        out[k] += change
        left -= change
    return out


def ans(data: bytes, table: list[int], count: int) -> np.ndarray:
    used = np.flatnonzero(table)
    if len(used) == 1:
        return np.full(count, used[0])
    starts, state, found = starts_of([table[k] for k in used]), 0, []
    words = np.frombuffer(data, "<u4").tolist()
    while words and state < WORD:
        state = state * WORD + words.pop()
    for _ in range(count):
        rest = state % WHOLE
        k = bisect_right(starts, rest) - 1
        state = state // WHOLE * (starts[k + 1] - starts[k]) + rest - starts[k]
        if words and state < WORD:
            state = state * WORD + words.pop()
        found.append(used[k])
    return np.array(found)


def starts_of(table: list[int]) -> list[int]:
    """Where each symbol of a table begins among WHOLE, and WHOLE: the one product of single precision."""
    before = [0, *accumulate(table)][:-1]
    free = np.float32(WHOLE - len(table))
    return [k + int(np.float32(c / TOTAL) * free) for k, c in enumerate(before)] + [WHOLE]


class Range:
    """A range decoder of 32-bit words: its place and width are 64-bit numbers."""

    def __init__(self, data: bytes) -> None:
        self.words = iter(np.frombuffer(data, "<u4").tolist())
        self.ahead = next(self.words, 0) * WORD + next(self.words, 0)  # the stream less the place
        self.width = WORD * WORD - 1

    def decode(self, table: list[int]) -> int:
        starts, unit = starts_of(table), self.width // WHOLE
        k = bisect_right(starts, self.ahead // unit) - 1
        self.ahead -= unit * starts[k]
        self.width = unit * (starts[k + 1] - starts[k])
        if self.width < WORD:
            self.width *= WORD
            self.ahead = self.ahead * WORD + next(self.words, 0)
        return k
