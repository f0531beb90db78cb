"""Adaptive tables for the range coder: counts that both sides keep alike, in integers."""

from __future__ import annotations

from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import TOTAL, normalise
from rinr_flower.errors import PayloadError

_FORGET_AT = 2048  # symbols after which a table halves its counts


class Coder(Protocol):
    """Writes symbols, reads them, or only looks at them: a traversal is the same for all three."""

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        """Write ``symbols``, or ignore their values, read as many and return them."""
        ...


class Writer:
    """Writes symbols to a range coder."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        self._coder.encode(symbols.astype(np.int32), _model(table))
        return symbols.astype(np.int64)

    def getvalue(self) -> bytes:
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class Reader:
    """Reads what a Writer wrote."""

    def __init__(self, data: bytes) -> None:
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        try:
            return np.asarray(self._coder.decode(_model(table), len(symbols)), np.int64)
        except (ValueError, AssertionError) as error:
            raise PayloadError(f"coefficients are altered: {error}") from error


def _model(table: NDArray[np.int64]) -> Any:
    return constriction.stream.model.Categorical(table.astype(np.float32) / np.float32(TOTAL), perfect=False)


class Tables:
    """Adaptive counts of one kind of symbol, one table for each context, all integers.

    A context starts with the probability ``zero`` / 1024 of symbol 0, and a geometric tail of ratio ``ratio`` / 1024
    above it.
    """

    def __init__(self, zero: NDArray[np.int64], ratio: NDArray[np.int64], symbols: int, weight: int) -> None:
        self._counts = np.zeros((len(zero), symbols), np.int64)
        for row, (first, factor) in enumerate(zip(zero.tolist(), ratio.tolist(), strict=True)):
            tail = [1 << 20]
            for _ in range(symbols - 2):
                tail.append(max(tail[-1] * factor >> 10, 1))
            share, whole = 1024 - first, sum(tail)
            self._counts[row] = [first * weight >> 6, *(max((share * t * weight // whole) >> 6, 1) for t in tail)]

    def table(self, context: int) -> NDArray[np.int64]:
        return normalise(self._counts[context])

    def update(self, context: int, symbols: NDArray[np.int64]) -> None:
        row = self._counts[context]
        row += 16 * np.bincount(symbols, minlength=len(row))
        while row.sum() > 16 * _FORGET_AT:
            row[:] = np.maximum(row // 2, 1)

    def bits(self) -> NDArray[np.float64]:
        """Cost in bits of every symbol in every context, as the counts stand."""
        return np.asarray(np.log2(self._counts.sum(axis=1, keepdims=True)) - np.log2(self._counts), np.float64)


class Observer:
    """Writes nothing: for the costs that a traversal leaves behind."""

    def code(self, symbols: NDArray[Any], table: NDArray[np.int64]) -> NDArray[np.int64]:
        return symbols.astype(np.int64)
