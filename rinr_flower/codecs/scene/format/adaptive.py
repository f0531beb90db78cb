"""Adaptive tables for the range coder: counts that both sides keep alike, in integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import TOTAL
from rinr_flower.errors import PayloadError

# Part of the format. Set by hand: the least count, 1, is a sixteenth of a symbol. Not tried alone, as the counts that
# tables start from are shipped in this unit (priors/context.py).
UNIT = 16  # what one symbol counts
# Symbols after which a table halves its counts. Part of the format, set by hand: fewer follow changes, more count more
# exactly. To try others: benchmarks/scene_rate.py --constant format.adaptive:_FORGET_AT=VALUE.
_FORGET_AT = 2048
# Symbols of a context from which on a call for each context is faster than a table for each symbol. Any value gives the
# same bytes, so it is no trade.
_MANY = 48


class Coder(Protocol):
    """Writes symbols, reads them, or only looks at them: a traversal is the same for all three."""

    def code(self, symbols: NDArray[Any], tables: NDArray[np.float32]) -> NDArray[np.int64]:
        """Write ``symbols``, or ignore their values, read as many and return them.

        ``tables`` (symbols, values), or (1, values) for all of them, holds the probability of each value, a multiple of
        1 / TOTAL, which float32 holds exactly.
        """
        ...


class Writer:
    """Writes symbols to a range coder."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, symbols: NDArray[Any], tables: NDArray[np.float32]) -> NDArray[np.int64]:
        values = symbols.astype(np.int32)
        if len(tables) == 1:
            self._coder.encode(values, _categorical(tables[0]))
        else:
            self._coder.encode(values, _categorical(), tables)
        return symbols.astype(np.int64)

    def getvalue(self) -> bytes:
        return bytes(self._coder.get_compressed().astype("<u4").tobytes())


class Reader:
    """Reads what a Writer wrote."""

    def __init__(self, data: bytes) -> None:
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))

    def code(self, symbols: NDArray[Any], tables: NDArray[np.float32]) -> NDArray[np.int64]:
        try:
            if len(tables) == 1:
                return np.asarray(self._coder.decode(_categorical(tables[0]), len(symbols)), np.int64)
            return np.asarray(self._coder.decode(_categorical(), tables), np.int64)
        except (ValueError, AssertionError) as error:
            raise PayloadError(f"coefficients are altered: {error}") from error


def _categorical(*table: NDArray[np.float32]) -> Any:
    """constriction's model of one table; without it the family, which takes a table with every symbol."""
    return constriction.stream.model.Categorical(*table, perfect=False)


def prior_counts(zero: NDArray[np.int64], ratio: NDArray[np.int64], symbols: int, weight: int) -> NDArray[np.int64]:
    """Counts (contexts, symbols) that stand for ``weight`` symbols seen: ``zero`` / 1024 of them 0, the others with a
    geometric tail of ``ratio`` / 1024."""
    counts = np.zeros((len(zero), symbols), np.int64)
    for row, (first, factor) in enumerate(zip(zero.tolist(), ratio.tolist(), strict=True)):
        tail = [1 << 20]
        for _ in range(symbols - 2):
            tail.append(max(tail[-1] * factor >> 10, 1))
        share, whole = 1024 - first, sum(tail)
        counts[row] = [UNIT * first * weight >> 10, *(max(UNIT * share * t * weight // whole >> 10, 1) for t in tail)]
    return counts


class Tables:
    """Adaptive counts of one kind of symbol, one table for each context, all integers.

    They start from ``prior`` (contexts, symbols), see :func:`prior_counts`, and grow by UNIT for a symbol.
    """

    def __init__(self, prior: NDArray[np.int64]) -> None:
        self._counts = prior.copy()

    def __len__(self) -> int:
        """Number of contexts."""
        return len(self._counts)

    def code(self, coder: Coder, contexts: NDArray[Any], symbols: NDArray[Any]) -> NDArray[np.int64]:
        """Code ``symbols`` (n,), each in its context, context by context; then count them. Returns the symbols."""
        if len(symbols) == 1:
            return np.array([self._code_one(coder, int(contexts[0]), int(symbols[0]))])
        if isinstance(coder, Observer):
            self.count([(contexts, symbols)])
            return symbols.astype(np.int64)
        order = contexts.astype(np.int16).argsort(kind="stable")  # numpy sorts 16 bits in linear time
        counted = np.bincount(contexts, minlength=len(self._counts))
        used = np.flatnonzero(counted)
        rows, width = self._counts[used], self._counts.shape[1]
        row = np.repeat(np.arange(len(used)), counted[used])
        source, tables = np.asarray(symbols)[order], _normalised(rows)
        if len(row) < _MANY * len(used):
            ordered = coder.code(source, tables[row])
        else:
            stops = np.cumsum(counted[used]).tolist()
            parts = enumerate(zip([0, *stops], stops, strict=False))
            ordered = np.concatenate([coder.code(source[a:b], tables[i : i + 1]) for i, (a, b) in parts])
        rows += UNIT * np.bincount(row * width + ordered, minlength=rows.size).reshape(rows.shape)
        self._counts[used] = _forgotten(rows)
        found = np.empty(len(ordered), np.int64)
        found[order] = ordered
        return found

    def count(self, calls: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> None:
        """Count contexts and symbols as calls of :meth:`code` with each of ``calls``, at least one, do."""
        rows, width = self._counts, self._counts.shape[1]
        places = [contexts.astype(np.int64) * width + symbols for contexts, symbols in calls]

        def counted(found: NDArray[np.int64]) -> NDArray[np.int64]:
            return UNIT * np.bincount(found, minlength=rows.size).reshape(rows.shape)

        together = rows + counted(np.concatenate(places))
        if (together.sum(axis=1) <= UNIT * _FORGET_AT).all():  # no call on the way halves counts
            self._counts = together
            return
        for found in places:
            rows += counted(found)
            rows = _forgotten(rows)
        self._counts = rows

    def _code_one(self, coder: Coder, context: int, symbol: int) -> int:
        """As :meth:`code` for a single symbol, without arrays."""
        row = self._counts[context].tolist()
        whole = sum(row)
        scaled = [max(count * TOTAL // whole, 1) for count in row]
        scaled[scaled.index(max(scaled))] += TOTAL - sum(scaled)
        found = int(coder.code(np.array([symbol]), np.array([scaled], np.float32) / np.float32(TOTAL))[0])
        row[found] += UNIT
        while sum(row) > UNIT * _FORGET_AT:
            row = [max(count // 2, 1) for count in row]
        self._counts[context] = row
        return found

    def bits(self) -> NDArray[np.float64]:
        """Cost in bits of every symbol in every context, as the counts stand."""
        return np.asarray(np.log2(self._counts.sum(axis=1, keepdims=True)) - np.log2(self._counts), np.float64)


def _forgotten(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts halved until none of the ``rows``, which change, is of too many symbols."""
    while (over := rows.sum(axis=1) > UNIT * _FORGET_AT).any():
        rows[over] = np.maximum(rows[over] // 2, 1)
    return rows


def _normalised(counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of counts as rows of multiples of 1 / TOTAL that add up to 1, none of them 0."""
    rows = np.maximum(counts * TOTAL // counts.sum(axis=1, keepdims=True), 1)
    rows[np.arange(len(rows)), rows.argmax(axis=1)] += TOTAL - rows.sum(axis=1)
    return np.asarray(rows.astype(np.float32) / np.float32(TOTAL), np.float32)


class Observer:
    """Writes nothing: for the costs that a traversal leaves behind."""

    def code(self, symbols: NDArray[Any], tables: NDArray[np.float32]) -> NDArray[np.int64]:
        return symbols.astype(np.int64)
