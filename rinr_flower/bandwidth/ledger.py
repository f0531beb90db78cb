"""The ledger: every byte that crossed a link, append-only, one flush an exchange."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from rinr_flower.errors import DataError
from rinr_flower.files import append_lines, read_file, write_file

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
_FORMULA_STARTS = "=+-@\t\r\n'"

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Entry:
    """One thing sent over one link.

    Attributes
    ----------
    round : round number, from 1; 0 for what is sent once before the first round.
    source, destination : node names; the fog node is ``"fog"``.
    kind : one of UPLOAD, PAYLOAD, SHARE, MODEL, UPDATE, CONTROL, REFUSED, REPEATED, or the caller's own word.
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
    path : a CSV file to append to, written by :meth:`flush`; None keeps the ledger in memory.
    """

    def __init__(self, path: Path | None = None, entries: Iterable[Entry] = ()) -> None:
        self.path = path
        self.entries: list[Entry] = list(entries)
        self.problems: list[str] = []
        self._flushed = 0

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def append(self, entry: Entry) -> None:
        """Take in one entry; it reaches the file with the next :meth:`flush`."""
        self.entries.append(entry)

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
        new = self.entries[self._flushed :]
        if self.path is None or not new:
            return
        append_lines(self.path, _rows(new), _HEADER)
        self._flushed = len(self.entries)

    def break_off(self, count: int) -> None:
        """Count everything after the first ``count`` entries as REPEATED: it was sent, and will be sent again.

        Rewrites the file, which also takes a line out that was cut off. Raises DataError if there are fewer entries.
        """
        if len(self.entries) < count:
            raise DataError(f"{self.path}: the ledger has {len(self.entries)} entries; the run had {count} by then")
        self.entries[count:] = [
            e if e.kind == REPEATED else replace(e, kind=REPEATED, content=f"{e.kind} {e.content}".strip())
            for e in self.entries[count:]
        ]
        if self.path is not None and (len(self.entries) > count or self.problems):
            self.copy_to(self.path)
            self.problems.clear()
        self._flushed = len(self.entries)

    def copy_to(self, path: Path) -> None:
        """Write all entries to a file, replacing it. DataError if it cannot be written."""
        write_file(path, _HEADER + _rows(self.entries))

    def totals(self, key: Callable[[Entry], K]) -> dict[K, tuple[int, int]]:
        """(payload bytes, message bytes) summed per ``key(entry)``, in order of appearance."""
        sums: dict[K, list[int]] = defaultdict(lambda: [0, 0])
        for entry in self.entries:
            pair = sums[key(entry)]
            pair[0] += entry.payload_bytes
            pair[1] += entry.message_bytes
        return {k: (a, b) for k, (a, b) in sums.items()}

    def by_kind(self) -> dict[str, tuple[int, int]]:
        """(payload bytes, message bytes) per kind."""
        return self.totals(lambda e: e.kind)

    @property
    def payload_bytes(self) -> int:
        return sum(e.payload_bytes for e in self.entries)

    @property
    def message_bytes(self) -> int:
        return sum(e.message_bytes for e in self.entries)

    @classmethod
    def open(cls, path: Path) -> Ledger:
        """The ledger in a file, to be gone on with; a new one if there is none, or not even a whole first line."""
        if path.exists() and b"\n" in path.read_bytes():
            return cls.read(path)
        path.unlink(missing_ok=True)
        return cls(path)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        """Read a ledger file back; ``problems`` says what could not be read.

        A killed run leaves a file cut off in the middle of a line: the whole lines are kept. Raises DataError if the
        file is missing or its first line is not a ledger's.
        """
        text = read_file(path).decode("utf-8", errors="replace")
        ledger = cls(path)
        whole, _, cut = text.rpartition("\n")
        if cut:
            ledger.problems.append(
                f"{path.name}: the last line is cut off (the run was stopped while writing) and is left out"
            )
        rows = csv.reader(io.StringIO(whole, newline=""))
        header = next(rows, [])
        if not set(COLUMNS[:6]) <= set(header):
            raise DataError(f"{path}: the first line is not a ledger's; expected {','.join(COLUMNS)}")
        try:
            for row in rows:
                entry = _entry(header, row)
                if entry is None:
                    ledger.problems.append(f"{path.name}: line {rows.line_num} is not an entry and is left out")
                else:
                    ledger.append(entry)
        except csv.Error as error:
            ledger.problems.append(
                f"{path.name}: line {rows.line_num} cannot be parsed ({error}); the rest is left out"
            )
        ledger._flushed = len(ledger.entries)
        return ledger


def _rows(entries: Iterable[Entry]) -> bytes:
    text = io.StringIO()
    rows = ([_escape(getattr(entry, column)) for column in COLUMNS] for entry in entries)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8")


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
