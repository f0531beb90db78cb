"""Fields, integer blocks and the two entropy coders, written from docs/format.md in Python's integers."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np

TOTAL, WHOLE, WORD = 1 << 16, 1 << 24, 1 << 32


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

    def block(self, count: int) -> np.ndarray:
        """An integer block behind its length."""
        inner = Bytes(self.raw(self.varint()))
        if count == 0:
            return np.zeros(0, int)
        form = inner.u8()
        if form == 0:
            return np.array([inner.signed() for _ in range(count)])
        if form == 1:
            scale, zeros = inner.u8(), inner.u8()
            escapes = [inner.signed() for _ in range(inner.varint())]
            ratio, weight, half = min(1016, 16 + 8 * scale), 1 << 30, []
            for _ in range(255):
                half.append(max(weight, 1 << 12))
                weight = weight * ratio >> 10
            centre = max(1, 2 * sum(half) * zeros // (256 - zeros))
            found = ans(inner, normalised([*half[::-1], centre, *half]), count) - 255
            found[np.abs(found) == 255] = escapes
            return found
        low, table, size = inner.signed(), [], inner.varint()
        while len(table) < size:
            value = inner.varint()
            table += [0] * (inner.varint() + 1) if value == 0 else [value]
        return ans(inner, table, count) + low


def normalised(counts: list[int]) -> list[int]:
    """Counts scaled to TOTAL; the largest give up, or take, what is left over."""
    out = [max(c * TOTAL // sum(counts), 1) if c else 0 for c in counts]
    left = TOTAL - sum(out)
    for k in sorted(range(len(out)), key=lambda k: -out[k]):
        change = left if left > 0 else max(left, 1 - out[k])
        out[k] += change
        left -= change
    return out


def ans(inner: Bytes, table: list[int], count: int) -> np.ndarray:
    used = np.flatnonzero(table)
    if len(used) == 1:
        return np.full(count, used[0])
    starts, state, found = starts_of([table[k] for k in used]), 0, []
    words = np.frombuffer(inner.data[inner.at :], "<u4").tolist()
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
