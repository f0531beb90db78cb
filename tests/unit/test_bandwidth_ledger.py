"""The ledger: totals, the file, and what a killed run leaves of it."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.errors import DataError

ENTRIES = [
    Entry(1, "a", "fog", "upload", 100, 120, "a/clip"),
    Entry(1, "b", "fog", "upload", 50, 60, "b/clip"),
    Entry(1, "fog", "b", "payload", 10, 12, "a/clip"),
    Entry(2, "fog", "a", "payload", 5, 7, "b/clip"),
    Entry(2, "b", "a", "share", 50, 60, "b/clip"),
]


def written(path, *entries):
    """A ledger that adds entries to a file."""
    ledger = Ledger(path)
    for entry in entries:
        ledger.append(entry)
    ledger.flush()
    return ledger


def test_totals():
    ledger = Ledger(entries=ENTRIES)
    assert ledger.by_kind() == {"upload": (150, 180), "payload": (15, 19), "share": (50, 60)}
    assert ledger.totals(lambda e: (e.source, e.destination))["fog", "b"] == (10, 12)
    assert (ledger.payload_bytes, ledger.message_bytes) == (215, 259)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12), st.integers(0, 10**5))
def test_a_message_is_dealt_to_its_items_to_the_byte(sizes, overhead):
    ledger = Ledger()
    total = sum(sizes) + overhead
    ledger.append_message(1, "fog", "a", "payload", [(str(i), s) for i, s in enumerate(sizes)], total)
    assert ledger.message_bytes == total
    assert [e.payload_bytes for e in ledger] == sizes
    assert all(e.message_bytes >= e.payload_bytes for e in ledger)


def test_round_trip_with_one_flush_a_round(tmp_path):
    path = tmp_path / "new" / "ledger.csv"
    ledger = Ledger(path)
    for number in (1, 2):
        for entry in ENTRIES:
            if entry.round == number:
                ledger.append(entry)
        assert not path.exists() or Ledger.read(path).entries == ENTRIES[:3]
        ledger.flush()
        ledger.flush()
    again = Ledger.read(path)
    assert again.entries == ENTRIES
    assert again.problems == []


@pytest.mark.parametrize(
    "name",
    [
        "=1+1",
        "+cmd",
        "-2",
        "@SUM(A1)",
        "\tx",
        "'quoted",
        "a,b",
        'say "hi"',
        "two\nlines",
        "é",
        "cam/a\rb",
        "\r",
        "a\r",
        "a\r\nb",
        "a\r\n",
        "\x00\x0b\x0c\x1c\x85\u2028",
    ],
)
def test_no_value_starts_a_formula_and_all_come_back(tmp_path, name):
    path = tmp_path / "ledger.csv"
    ledger = written(path, Entry(1, name, "fog", name, 3, 4, name))
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert Ledger.read(path).entries == ledger.entries


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=0x2029), max_size=4), min_size=1, max_size=4))
def test_names_of_any_characters_come_back_and_can_be_broken_off(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
    whole = written(path, *(Entry(1, name, "fog", "upload", 3, 4, name) for name in names))
    ledger = Ledger.open(path)
    ledger.break_off(len(names))
    assert (ledger.entries, ledger.problems) == (whole.entries, [])
    assert path.read_bytes().startswith(b"round,source")


def test_a_file_cut_anywhere_keeps_its_whole_lines(tmp_path):
    path = tmp_path / "ledger.csv"
    written(path, *ENTRIES)
    data = path.read_bytes()
    header = data.index(b"\n") + 1
    for cut in range(header, len(data)):
        path.write_bytes(data[:cut])
        ledger = Ledger.read(path)
        assert ledger.entries == ENTRIES[: data[header:cut].count(b"\n")]
        assert bool(ledger.problems) == (data[cut - 1 : cut] != b"\n")


def test_a_resumed_run_appends_after_a_cut_line(tmp_path):
    path = tmp_path / "ledger.csv"
    written(path, ENTRIES[0])
    path.write_bytes(path.read_bytes() + b"1,b,fo")
    written(path, ENTRIES[2])
    again = Ledger.read(path)
    assert again.entries == [ENTRIES[0], ENTRIES[2]]
    assert again.problems == ["ledger.csv: line 3 is not an entry and is left out"]


@pytest.mark.parametrize("line", ["x,a,b,upload,1,1,", "1,a,b,upload,-1,1,", "1,a", "", "1,a,b,upload,1.5,2,"])
def test_bad_lines_are_reported(tmp_path, line):
    path = tmp_path / "ledger.csv"
    written(path, ENTRIES[0])
    path.write_text(path.read_text() + line + "\n2,fog,a,payload,5,7,\n")
    again = Ledger.read(path)
    assert [e.round for e in again] == [1, 2]
    assert len(again.problems) == 1
    assert "line 3" in again.problems[0]


@pytest.mark.parametrize("content", [b"", b"\n", b"time,value\n1,2\n", b"\x00\xff\xfe", b"<html>"])
def test_what_is_not_a_ledger_is_refused(tmp_path, content):
    path = tmp_path / "ledger.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ledger\.csv"):
        Ledger.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Ledger.read(tmp_path / "none.csv")


def test_columns_of_later_versions_are_ignored(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_text("round,new,source,destination,kind,payload_bytes,message_bytes\n1,?,a,fog,upload,5,6\n")
    assert Ledger.read(path).entries == [Entry(1, "a", "fog", "upload", 5, 6)]


def test_what_a_broken_round_had_sent_is_repeated(tmp_path):
    path = tmp_path / "ledger.csv"
    whole = written(path, *ENTRIES)
    path.write_bytes(path.read_bytes() + b"2,fog,a,pay")  # killed in the middle of a line
    ledger = Ledger.open(path)
    ledger.break_off(3)
    assert ledger.entries[:3] == ENTRIES[:3]
    assert [(e.kind, e.content) for e in ledger.entries[3:]] == [
        ("repeated", "payload b/clip"),
        ("repeated", "share b/clip"),
    ]
    assert ledger.message_bytes == whole.message_bytes
    ledger.append(ENTRIES[3])
    ledger.flush()
    ledger.break_off(3)
    again = Ledger.read(path)
    assert (again.entries, again.problems) == (ledger.entries, [])
    assert [e.content for e in again.entries[3:]] == ["payload b/clip", "share b/clip", "payload b/clip"]
    with pytest.raises(DataError, match="6 entries; the run had 9"):
        ledger.break_off(9)


def test_a_ledger_is_opened_where_there_is_none_yet(tmp_path):
    path = tmp_path / "ledger.csv"
    assert len(Ledger.open(path)) == 0
    path.write_text("round,sour")  # killed in the middle of the first line
    ledger = Ledger.open(path)
    ledger.append(ENTRIES[0])
    ledger.flush()
    assert Ledger.open(path).entries == ENTRIES[:1]


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_lost(tmp_path):
    (tmp_path / "file").write_text("")
    ledger = Ledger(tmp_path / "file" / "ledger.csv")
    ledger.append(ENTRIES[0])
    with pytest.raises(DataError, match="free space there or make it writable"):
        ledger.flush()
    ledger.path = tmp_path / "ledger.csv"
    ledger.flush()
    assert Ledger.read(ledger.path).entries == ENTRIES[:1]


def test_a_ledger_that_is_opened_keeps_in_memory_only_what_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("rinr_flower.bandwidth.ledger.AT_ONCE", 4)
    path = tmp_path / "ledger.csv"
    ledger = Ledger.open(path)
    for number in range(10):
        ledger.append(Entry(number, "a", "fog", "upload", number, number + 1, "two\nlines"))
        assert len(ledger._entries) < 4
    assert (len(ledger), ledger.payload_bytes, [e.round for e in ledger]) == (10, 45, list(range(10)))
    ledger.break_off(7)
    assert [e.kind for e in ledger] == ["upload"] * 7 + ["repeated"] * 3
    ledger.append(ENTRIES[0])
    ledger.flush()
    assert Ledger.read(path).entries == ledger.entries == Ledger.open(path).entries
