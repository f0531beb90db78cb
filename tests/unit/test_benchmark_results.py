"""Result files of the benchmarks: one format, rows that replace older ones, and the hash of the code behind them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lib import code_hash
from lib.code_hash import closure, code_of, digest_of
from lib.results import FOLDER, ResultFile, read_result, stale_rows, write_result

from rinr_flower.codecs import codecs
from rinr_flower.errors import DataError

CODE = ["rinr_flower.quality"]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda p: p.name)
def test_every_committed_result_is_of_the_one_format(path: Path) -> None:
    found = read_result(path)
    assert found is not None
    assert found["rows"]
    for row in found["rows"]:
        assert row.get("machine", 0) < len(found["machines"])
        assert row.get("settings", 0) < len(found["settings"])


def test_rows_are_kept_and_replaced_by_their_key(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    file = ResultFile(path, command="x", settings={"steps": 1})
    file.add({"clip": "a", "value": 1}, CODE, key=("clip",))
    file.add({"clip": "b", "value": 2}, CODE, key=("clip",))
    other = ResultFile(path, command="x", settings={"steps": 2})
    assert other.rows == []
    other.add({"clip": "a", "value": 3}, CODE, key=("clip",))
    again = ResultFile(path, command="x", settings={"steps": 1})
    again.add({"clip": "a", "value": 4}, CODE, key=("clip",))
    again.write({"sum": 6})
    found = json.loads(path.read_text())
    assert [(r["clip"], r["settings"], r["value"]) for r in found["rows"]] == [("b", 0, 2), ("a", 1, 3), ("a", 0, 4)]
    assert found["settings"] == [{"steps": 1}, {"steps": 2}]
    assert found["code"] == {digest_of(CODE): CODE}
    assert found["summary"] == {"sum": 6}
    assert stale_rows(found) == {}


def test_rows_of_a_run_beside_this_one_are_taken_over(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    ResultFile(one, command="x", settings={"steps": 2}).add({"clip": "c", "value": 0}, CODE, key=("clip",))
    beside = ResultFile(two, command="x", settings={"steps": 2})
    beside.add({"clip": "a", "value": 1}, CODE, key=("clip",))
    beside.add({"clip": "b", "value": 2}, CODE, key=("clip",))
    ResultFile(two, command="x", settings={"steps": 3}).add({"clip": "c", "value": 9}, CODE, key=("clip",))
    file = ResultFile(one, command="x", settings={"steps": 2})
    file.add({"clip": "b", "value": 7}, CODE, key=("clip",))
    file.take(two, key=("clip",))
    found = json.loads(one.read_text())
    assert [(r["clip"], r["settings"], r["value"]) for r in found["rows"]] == [("c", 0, 0), ("a", 0, 1), ("b", 0, 2)]
    assert len(found["machines"]) == 1
    assert stale_rows(found) == {}
    with pytest.raises(DataError, match="no such result file"):
        file.take(tmp_path / "three.json", key=("clip",))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match=r"x\.json: not a result file"):
        ResultFile(tmp_path / "x.json", command="x")


def test_code_that_changes_makes_rows_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_result(path, command="x", code=CODE, rows=[{"value": 1}, {"value": 2}])
    before = digest_of(CODE)
    source = Path(closure(CODE)["rinr_flower.frames"]).read_text()

    def digest_with(text: str) -> str:
        copy = tmp_path / "frames.py"
        copy.write_text(text)
        for function in (code_hash._tree, code_hash._shape, code_hash._imports):
            function.cache_clear()
        monkeypatch.setattr(code_hash, "_file", lambda name: copy if name == "rinr_flower.frames" else _found(name))
        return digest_of(CODE)

    _found = code_hash._file
    assert digest_with('"""Another docstring."""\n# a comment\n' + source.partition('"""\n')[2]) == before
    assert stale_rows(json.loads(path.read_text())) == {}
    guard = "\ndef _f(x):\n    if x < {}:\n        raise ValueError(f'{} {{x}}')\n    log.info('{}', x)\n"
    guarded = digest_with(source + guard.format(1, "a", "b"))
    assert digest_with(source + guard.format(1, "c", "d")) == guarded  # other texts of an error and of a log line
    assert len({before, guarded, digest_with(source + guard.format(2, "a", "b"))}) == 3
    assert digest_with(source + "\nMORE = 1\n") != before
    assert stale_rows(json.loads(path.read_text())) == {before: 2}


def test_rows_name_the_code_that_each_depends_on(tmp_path: Path) -> None:
    def depends_on(row: dict[str, object]) -> list[str]:
        return [f"rinr_flower.{row['module']}"]

    path, rows = tmp_path / "result.json", [{"module": "frames"}, {"module": "quality"}, {"module": "frames"}]
    write_result(path, command="x", code=depends_on, rows=rows)
    found = json.loads(path.read_text())
    assert [found["code"][r["code"]] for r in found["rows"]] == [depends_on(r) for r in rows]
    assert len(found["code"]) == 2
    assert stale_rows(found) == {}


def test_a_row_without_a_hash_does_not_take_that_of_others(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(path, command="x", code=lambda row: CODE, rows=[{"value": 1}])
    found = json.loads(path.read_text())
    found["rows"].append({"value": 2})
    assert stale_rows(found) == {"unknown code": 1}


def test_rows_of_the_reproduction_depend_on_their_codecs_and_on_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER.parent))
    reproduction = pytest.importorskip("reproduction")
    trained = list(reproduction.TRAINED)
    nerv, residual, jpeg = (code_of(codecs.create(name)) for name in ("nerv", "residual", "jpeg"))
    assert set(reproduction.depends_on({"kind": "clips", "row": "NeRV BS"})) == {*nerv, *residual}
    assert reproduction.depends_on({"kind": "clips", "row": "JPEG q50"}) == jpeg
    assert reproduction.depends_on({"kind": "accuracy", "row": "JPEG q50", "seed": 0}) == [*jpeg, *trained]
    assert reproduction.depends_on({"kind": "updates", "name": "full"}) == trained


def test_weights_that_change_make_rows_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = code_of(codecs.create("scene"))
    shipped = {path.name for file in closure(scene).values() for path in file.parent.glob("*.npz")}
    assert shipped == {"context.npz", "trunk.npz"}
    module, weights = tmp_path / "module.py", tmp_path / "weights.npz"
    module.write_text("VALUE = 1\n")
    monkeypatch.setattr(code_hash, "closure", lambda modules: {"module": module})
    without = digest_of(["module"])
    weights.write_bytes(b"one")
    one = digest_of(["module"])
    weights.write_bytes(b"two")
    assert len({without, one, digest_of(["module"])}) == 3


def test_the_modules_that_benchmarks_name_exist() -> None:
    """A result of a module that is gone could not be written."""
    sources = [path.read_text(encoding="utf-8") for path in FOLDER.parent.rglob("*.py")]
    named = {name for source in sources for name in re.findall(r'"(rinr_flower(?:\.\w+)+)"', source)}
    assert len(named) > 10
    assert closure(sorted(named))


def test_a_codec_depends_on_what_its_bytes_depend_on() -> None:
    scene = closure(code_of(codecs.create("scene")))
    assert any(name.startswith("rinr_flower.codecs.scene.encode") for name in scene)
    assert "rinr_flower.bitstream.entropy" in scene
    assert "rinr_flower.codecs.video" not in scene
    over = code_of(codecs.create("residual", background="nerv"))
    assert {"rinr_flower.codecs.residual", "rinr_flower.codecs.nerv"} <= set(over)
    assert "rinr_flower.strategies.memory" in closure(["rinr_flower.strategies.fog_node"])
