"""The ledger: every byte that crossed a link, append-only, one flush an exchange."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from rinr_flower.errors import DataError
from rinr_flower.files import append_lines, write_file

FOG = "fog"  # the fog node's name as a source or destination

UPLOAD = "upload"  # captures, device to fog
PAYLOAD = "payload"  # encoded clips, fog to device
SHARE = "share"  # captures or clips, device to device, no fog
MODEL = "model"  # a whole model, either way
UPDATE = "update"  # a model update, either way
START_MODEL = "start_model"  # the model that devices start from, sent once
CONTROL = "control"  # instructions, metrics, acknowledgements
REFUSED = "refused"  # answers that came and could not be used
REPEATED = "repeated"  # what a round had sent that was broken off and done again

COLUMNS = ("round", "source", "destination", "kind", "payload_bytes", "message_bytes", "content")
_NUMBERS = ("round", "payload_bytes", "message_bytes")
_HEADER = ",".join(COLUMNS).encode() + b"\n"
AT_ONCE = 8192
"""Entries of a ledger that is streamed which are in memory at a time."""
MAX_HEADER_BYTES = 4096
_FORMULA_STARTS = "=+-@\t\r\n'"
_QUOTED = "\r\n"  # a CSV writer quotes a text that holds one of the characters of its line terminator, and no other

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing sent over one link.

    Attributes
    ----------
    round : round number, from 1; 0 for what is sent once before the first round.
    source, destination : node names; the fog node is ``"fog"``.
    kind : one of UPLOAD, PAYLOAD, SHARE, MODEL, UPDATE, START_MODEL, CONTROL, REFUSED, REPEATED, or the
        caller's own word.
    payload_bytes : length of the bytes that matter: JPEG files with boxes, a codec's payload, a packed update.
    message_bytes : its share of the serialised message that carried it; at least ``payload_bytes``.
    content : what it is, for example the clip's name. Entries of one round, source, kind and content hold the same
        bytes for several destinations; a broadcast sends them once. Empty: it has no copies.
    """

    round: int
    source: str
    destination: str
    kind: str
    payload_bytes: int
    message_bytes: int
    content: str = ""


class Ledger:
    """Entries in the order in which they were sent.

    Parameters
    ----------
    path : a CSV file to append to, written by :meth:`flush`; None keeps the ledger in memory. :meth:`open` keeps none
        in memory that are in the file.
    """

    def __init__(self, path: Path | None = None, entries: Iterable[Entry] = ()) -> None:
        self.path = path
        self.problems: list[str] = []
        self._entries: list[Entry] = list(entries)  # all, or where the ledger is streamed those that are not flushed
        self._flushed = 0  # of these
        self._streamed = False
        self._filed = 0  # entries that are in the file alone

    @property
    def entries(self) -> list[Entry]:
        """All entries, read from the file where they are there alone."""
        return list(self)

    def __len__(self) -> int:
        return self._filed + len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        if self._filed and self.path is not None:
            yield from (entry for entry in _read_rows(self.path, []) if entry is not None)
        yield from list(self._entries)

    def append(self, entry: Entry) -> None:
        """Take in one entry; it reaches the file with the next :meth:`flush`, or where many wait for one."""
        self._entries.append(entry)
        if self._streamed and len(self._entries) >= AT_ONCE:
            self.flush()

    def append_message(
        self,
        round: int,
        source: str,
        destination: str,
        kind: str,
        items: Sequence[tuple[str, int]],
        message_bytes: int,
    ) -> None:
        """Take in one message that carried several things, ``items`` being (content, payload bytes) pairs.

        What the message has beyond its payloads is dealt to the items in proportion to their size, to the byte.
        """
        payload = sum(size for _, size in items)
        extra, done, dealt = message_bytes - payload, 0, 0
        for index, (content, size) in enumerate(items):
            done += size
            share = extra * done // payload if payload else extra * (index + 1) // len(items)
            self.append(Entry(round, source, destination, kind, size, size + share - dealt, content))
            dealt = share

    def flush(self) -> None:
        """Append what is new to the file in one write and hand it to the disk.

        Raises
        ------
        DataError
            If it cannot be written; what is new stays to be written.
        """
        new = self._entries[self._flushed :]
        if self.path is None or not new:
            return
        append_lines(self.path, _rows(new), _HEADER)
        self._flushed = len(self._entries)
        if self._streamed:
            self._filed += len(self._entries)
            self._entries, self._flushed = [], 0

    def break_off(self, count: int) -> None:
        """Count everything after the first ``count`` entries as REPEATED: it was sent, and will be sent again.

        Rewrites the file. Raises DataError if there are fewer entries.
        """
        if len(self) < count:
            raise DataError(f"{self.path}: the ledger has {len(self)} entries; the run had {count} by then")
        if len(self) == count and not self.problems:
            return
        changed = (_repeated(entry) if number >= count else entry for number, entry in enumerate(self))
        if self.path is not None and self._streamed:
            write_file(self.path, _parts(changed))
            self._filed, self._entries = len(self), []
        else:
            self._entries = list(changed)
            if self.path is not None:
                self.copy_to(self.path)
            self._flushed = len(self._entries)
        self.problems.clear()

    def copy_to(self, path: Path) -> None:
        """Write all entries to a file, replacing it. DataError if it cannot be written."""
        write_file(path, _parts(self))

    def totals(self, key: Callable[[Entry], K]) -> dict[K, tuple[int, int]]:
        """(payload bytes, message bytes) summed per ``key(entry)``, in order of appearance."""
        sums: dict[K, list[int]] = defaultdict(lambda: [0, 0])
        for entry in self:
            pair = sums[key(entry)]
            pair[0] += entry.payload_bytes
            pair[1] += entry.message_bytes
        return {k: (a, b) for k, (a, b) in sums.items()}

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """(payload bytes, message bytes) per kind."""
        return self.totals(lambda e: e.kind)

    @property
    def payload_bytes(self) -> int:
        return sum(e.payload_bytes for e in self)

    @property
    def message_bytes(self) -> int:
        return sum(e.message_bytes for e in self)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger in a file, to be gone on with; a new one if there is none, or not even a whole first line.

        Entries are read from the file whenever they are asked for. A line that was cut off is taken out of the file.
        """
        ledger = cls(path)
        ledger._streamed = True
        if _has_header(path):
            problems: list[str] = []
            ledger._filed = sum(entry is not None for entry in _read_rows(path, problems))
            if problems:
                ledger.copy_to(path)
        else:
            path.unlink(missing_ok=True)
        return ledger

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger file back; ``problems`` says what could not be read.

        A killed run leaves a file cut off in the middle of a line: the whole lines are kept. Raises DataError if the
        file is missing or its first line is not a ledger's.
        """
        ledger = cls(path)
        ledger._entries = [entry for entry in _read_rows(path, ledger.problems) if entry is not None]
        ledger._flushed = len(ledger._entries)
        return ledger


def _read_rows(path: Path, problems: list[str]) -> Iterator[Entry | None]:
    """The entries of a file, None for a line that is none; what is wrong with it is added to ``problems``."""
    try:
        with path.open(encoding="utf-8", errors="replace", newline="\n") as file:
            rows = csv.reader(_whole_lines(file, path, problems))
            header = next(rows, [])
            if not set(COLUMNS[:6]) <= set(header):
                raise DataError(f"{path}: the first line is not a ledger's; expected {','.join(COLUMNS)}")
            for row in rows:
                entry = _entry(header, row)
                if entry is None:
                    problems.append(f"{path.name}: line {rows.line_num} is not an entry and is left out")
                yield entry
    except csv.Error as error:
        problems.append(f"{path.name}: line {rows.line_num} cannot be parsed ({error}); the rest is left out")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _whole_lines(file: Iterable[str], path: Path, problems: list[str]) -> Iterator[str]:
    for line in file:
        if line.endswith("\n"):
            yield line
        else:
            problems.append(
                f"{path.name}: the last line is cut off (the run was stopped while writing) and is left out"
            )


def _has_header(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("rb") as file:
        return b"\n" in file.read(MAX_HEADER_BYTES)


def _repeated(entry: Entry) -> Entry:
    if entry.kind == REPEATED:
        return entry
    return replace(entry, kind=REPEATED, content=f"{entry.kind} {entry.content}".strip())


def _parts(entries: Iterable[Entry]) -> Iterator[bytes]:
    """A ledger's file, some rows at a time."""
    yield _HEADER
    iterator = iter(entries)
    while part := list(islice(iterator, AT_ONCE)):
        yield _rows(part)


def _rows(entries: Iterable[Entry]) -> bytes:
    text = _Lines()
    rows = ([_escape(getattr(entry, column)) for column in COLUMNS] for entry in entries)
    csv.writer(text, lineterminator=_QUOTED).writerows(rows)
    return text.getvalue().encode("utf-8")


class _Lines(io.StringIO):
    """Rows of a CSV writer whose line terminator is ``_QUOTED``, each ended by a line feed alone."""

    def write(self, row: str) -> int:
        return super().write(row.removesuffix(_QUOTED) + "\n")


def _escape(value: object) -> object:
    """Put an apostrophe before a text that a spreadsheet would run as a formula, or that starts with an apostrophe."""
    return "'" + value if isinstance(value, str) and value[:1] and value[0] in _FORMULA_STARTS else value


def _entry(header: Sequence[str], row: Sequence[str]) -> Entry | None:
    if len(row) != len(header):
        return None
    values = {name: text.removeprefix("'") for name, text in zip(header, row, strict=True) if name in COLUMNS}
    try:
        numbers = {name: int(values.pop(name)) for name in _NUMBERS}
    except ValueError:
        return None
    if min(numbers.values()) < 0:
        return None
    return Entry(**numbers, **values)  # type: ignore[arg-type]
