"""Run records: JSON round trip, and what is left of partial, altered and later ones."""

import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.errors import DataError
from rinr_flower.report import (
    AccuracyRecord,
    DecisionRecord,
    DeviceRecord,
    ExampleRecord,
    FailureRecord,
    PayloadRecord,
    RivalRecord,
    RunRecord,
)
from rinr_flower.report.record import from_json, to_json

PAYLOAD = PayloadRecord(1, "a", "clip", "webp", 8, 64, 48, 9000, 9100, 700, {"header": 40, "background": 660})


def same(a, b):
    """Equality that takes NaN for equal to NaN."""
    return json.dumps(to_json(a)) == json.dumps(to_json(b))


def record(**changes):
    values = {
        "scenario": {"codec": {"name": "webp"}, "seed": 3},
        "environment": {"python": "3.11"},
        "devices": (DeviceRecord("a", ("clip",), 9000, 8, 2), DeviceRecord("b")),
        "payloads": (PAYLOAD, dataclasses.replace(PAYLOAD, device="b", object_db=math.inf)),
        "accuracy": (AccuracyRecord(0, "a", 0.5, 0.25),),
        "failures": (FailureRecord(1, "b", "timeout", "no answer within 3 s"),),
        "rivals": (RivalRecord("jpeg q20", "clip", "a", 1, 900, 31.5),),
        "examples": (ExampleRecord("clip", 3, "a.png", "b.png", (1.0, 2.0, 3.5, 4.0)),),
        "decisions": (DecisionRecord(1, "edge", "payloads are smaller", 9800, 12000),),
        "ledger": Ledger(entries=[Entry(1, "a", "fog", "upload", 9100, 9150, "a/clip")]),
    }
    return RunRecord(**{**values, **changes})


def test_round_trip(tmp_path):
    before = record()
    before.save(tmp_path / "run")
    after = RunRecord.load(tmp_path / "run")
    assert after.missing == ()
    assert after.ledger.entries == before.ledger.entries
    for name in (
        "scenario",
        "environment",
        "devices",
        "payloads",
        "accuracy",
        "failures",
        "rivals",
        "examples",
        "decisions",
    ):
        assert same(getattr(after, name), getattr(before, name)), name
    assert after.payloads[1].object_db == math.inf
    assert math.isnan(after.payloads[0].object_db)


@settings(max_examples=60, deadline=None)
@given(st.floats(), st.integers(0, 2**60), st.text(), st.lists(st.text(), max_size=3))
def test_every_value_survives_json(number, count, text, names):
    payload = dataclasses.replace(PAYLOAD, frame_db=number, camera_bytes=count, clip=text)
    for before in (payload, DeviceRecord(text, tuple(names), count)):
        line = json.dumps(to_json(before), allow_nan=False)
        assert same(from_json(type(before), json.loads(line)), before)


def test_saving_beside_its_own_ledger_does_not_write_twice(tmp_path):
    ledger = Ledger(tmp_path / "ledger.csv")
    ledger.append(Entry(1, "a", "fog", "upload", 5, 6))
    ledger.flush()
    record(ledger=ledger).save(tmp_path)
    record(ledger=ledger).save(tmp_path)
    assert len(RunRecord.load(tmp_path).ledger) == 1


def test_a_killed_run_leaves_its_ledger(tmp_path):
    record().save(tmp_path)
    (tmp_path / "run.json").unlink()
    after = RunRecord.load(tmp_path)
    assert len(after.ledger) == 1
    assert after.payloads == ()
    assert any("run.json is missing" in text for text in after.missing)


@pytest.mark.parametrize("cut", [1, 10, 100, 500])
def test_a_cut_record_is_reported(tmp_path, cut):
    record().save(tmp_path)
    path = tmp_path / "run.json"
    path.write_bytes(path.read_bytes()[:-cut])
    assert any("run.json cannot be read" in text for text in RunRecord.load(tmp_path).missing)


def test_broken_rows_are_left_out_and_named(tmp_path):
    record().save(tmp_path)
    path = tmp_path / "run.json"
    values = json.loads(path.read_text())
    del values["payloads"][0]["camera_bytes"]
    values["accuracy"] = [{"round": "one", "device": "a", "map50": 0, "map50_95": 0}, 7]
    values["payloads"][1]["new_field"] = "ignored"
    values["scenario"] = []
    del values["rivals"]
    path.write_text(json.dumps(values))
    after = RunRecord.load(tmp_path)
    assert [p.device for p in after.payloads] == ["b"]
    assert after.accuracy == ()
    text = "\n".join(after.missing)
    for part in ("payloads[0]", "camera_bytes", "accuracy[0]", "accuracy[1]", "'scenario'", "no 'rivals'"):
        assert part in text


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}, 10**400])
def test_a_field_of_another_kind_is_named(tmp_path, value):
    """Every field of the file, and every field of every row of it."""
    record().save(tmp_path)
    path = tmp_path / "run.json"
    whole = json.loads(path.read_text())
    for name, before in whole.items():
        path.write_text(json.dumps({**whole, name: value}))
        try:
            after = RunRecord.load(tmp_path)
        except DataError:
            assert name == "version"
            continue
        is_object = name in ("scenario", "environment") and isinstance(value, dict)
        assert name in "\n".join(after.missing) or is_object or name == "version", name
        for key in before[0] if isinstance(before, list) and before else ():
            path.write_text(json.dumps({**whole, name: [{**before[0], key: value}]}))
            after = RunRecord.load(tmp_path)
            assert f"{name}[0]" in "\n".join(after.missing) or len(getattr(after, name)) == 1, (name, key)


def test_a_text_is_not_a_list_of_letters(tmp_path):
    for key, value, cls in (("clips", "abc", DeviceRecord), ("bytes_by_part", [1], PayloadRecord)):
        with pytest.raises(DataError, match="is not a"):
            from_json(cls, {**to_json(PAYLOAD), "name": "a", key: value})


def test_other_versions_and_folders(tmp_path):
    record().save(tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(DataError, match="version 99"):
        RunRecord.load(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="not a run folder"):
        RunRecord.load(tmp_path / "empty")
    with pytest.raises(DataError, match="no such run folder"):
        RunRecord.load(tmp_path / "nowhere")


def test_a_record_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"run\.json cannot be written"):
        RunRecord().save(tmp_path / "file" / "run")
