"""The format of a result file: one for all benchmarks.

| key | value |
|---|---|
| ``command`` | the command that makes the file |
| ``machines`` | machines that rows were measured on |
| ``settings`` | settings that rows were measured with |
| ``code`` | hash of the code that rows depend on: the modules it covers, see ``code_hash`` |
| ``rows`` | measurements; ``machine`` and ``settings`` are positions in the lists (0 if absent), ``code`` is a key of the map (its only one if absent) |
| ``summary`` | figures that follow from the rows |

One row stands on one line of the file.
"""  # noqa: E501

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rinr_flower.errors import DataError
from rinr_flower.files import write_file

from .code_hash import digest_of
from .machine import describe

Row = dict[str, Any]
FOLDER = Path(__file__).parents[1] / "results"
_KEYS = ("command", "machines", "settings", "code", "rows", "summary")


def write_result(
    path: Path,
    *,
    command: str,
    code: Sequence[str] | Callable[[Row], Sequence[str]],
    rows: Sequence[Row],
    settings: Mapping[str, Any] | None = None,
    summary: Any = None,
) -> None:
    """Write the result of a run that measures everything at once; a reader sees the whole of it or what was before.

    Parameters
    ----------
    command : as typed.
    code : modules of ``rinr_flower`` that the figures depend on, or a function that gives those of a row.
    rows, settings, summary : see the module.
    """
    if callable(code):
        each = [tuple(code(row)) for row in rows]
        digests = {modules: digest_of(modules) for modules in set(each)}
        rows = [{**row, "code": digests[modules]} for row, modules in zip(rows, each, strict=True)]
        known = {digests[modules]: list(modules) for modules in each}
    else:
        known = {digest_of(code): list(code)}
    content = {
        "command": command,
        "machines": [describe()],
        "settings": [dict(settings or {})],
        "code": known,
        "rows": rows,
        "summary": summary,
    }
    write_file(path, dumped(content).encode())


class ResultFile:
    """A result file that grows row by row: each is on disk when :meth:`add` returns, and older ones stay.

    Parameters
    ----------
    path : the file; it is read if it is there.
    command : as typed.
    settings : of the rows that are added.

    Raises DataError if the file is there and is no result file.
    """

    def __init__(
        self,
        path: Path,
        *,
        command: str,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._path = path
        self._content = read_result(path) or {"machines": [], "settings": [], "code": {}, "rows": [], "summary": None}
        self._content["command"] = command
        self._machine = _position(self._content["machines"], describe())
        self.settings = _position(self._content["settings"], dict(settings or {}))

    @property
    def every_row(self) -> list[Row]:
        """The rows of all settings."""
        return list(self._content["rows"])

    @property
    def rows(self) -> list[Row]:
        """The rows of the present settings."""
        return [r for r in self._content["rows"] if r.get("settings", 0) == self.settings]

    def add(self, row: Mapping[str, Any], code: Sequence[str], *, key: Sequence[str]) -> None:
        """Add a row of the present settings, in place of older ones that have the same values under ``key``."""
        self._put({**row, "settings": self.settings, "machine": self._machine, "code": self._registered(code)}, key)
        self._dump()

    def renew(self, row: Row, code: Sequence[str]) -> None:
        """State that ``row``, one of :attr:`rows`, is what the present ``code`` gives too, as the caller has found."""
        row["code"] = self._registered(code)
        self._dump()

    def _registered(self, code: Sequence[str]) -> str:
        """The hash of ``code``, under which the file names its modules."""
        digest = digest_of(code)
        self._content["code"][digest] = list(code)
        return digest

    def _put(self, row: Row, key: Sequence[str]) -> None:
        name = [row[k] for k in ("settings", *key)]
        kept = [r for r in self._content["rows"] if [r.get(k, 0) for k in ("settings", *key)] != name]
        self._content["rows"] = [*kept, row]

    def take(self, path: Path, *, key: Sequence[str]) -> None:
        """Take over the rows that another file, of a run beside this one, has of the present settings; see :meth:`add`.

        DataError if there is no such file.
        """
        other = read_result(path)
        if other is None:
            raise DataError(f"{path}: there is no such result file")
        present = self._content["settings"][self.settings]
        for row in other["rows"]:
            if other["settings"][row.get("settings", 0)] == present:
                machine = _position(self._content["machines"], other["machines"][row.get("machine", 0)])
                digest = row.get("code") or next(iter(other["code"]), None)
                self._put({**row, "settings": self.settings, "machine": machine, "code": digest}, key)
        self._content["code"] |= other["code"]
        self._dump()

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        """Drop the rows of the present settings that are not wanted; on disk when this returns."""
        rows = self._content["rows"]
        self._content["rows"] = [r for r in rows if r.get("settings", 0) != self.settings or wanted(r)]
        self._dump()

    def write(self, summary: Any) -> None:
        """Write the file with a summary of its rows; :meth:`add` leaves the summary as it was."""
        self._content["summary"] = summary
        self._dump()

    def _dump(self) -> None:
        used = {r.get("code") for r in self._content["rows"]}
        code = {digest: modules for digest, modules in self._content["code"].items() if digest in used}
        write_file(self._path, dumped({**self._content, "code": code}).encode())


def read_result(path: Path) -> dict[str, Any] | None:
    """The content of a result file; None if there is none. DataError if it is no result file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: found[key] for key in _KEYS}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a result file ({error!r}); name another with --out") from error


def stale_rows(found: Mapping[str, Any]) -> dict[str, int]:
    """Count the rows for each hash of code that is no longer the library's.

    A row without a hash has the file's only one, unless other rows name theirs: then, as in a file without any, it is
    from before results carried one, and stands under ``unknown code``.
    """
    each = len(found["code"]) != 1 or any(r.get("code") for r in found["rows"])
    only = None if each else next(iter(found["code"]))
    counts = Counter(r.get("code", only) or "unknown code" for r in found["rows"])
    return {digest: count for digest, count in counts.items() if not _is_present(digest, found["code"])}


def _is_present(digest: str, code: Mapping[str, Sequence[str]]) -> bool:
    try:
        return digest in code and digest_of(code[digest]) == digest
    except ModuleNotFoundError:
        return False


def dumped(content: Mapping[str, Any]) -> str:
    """JSON with one line for each row, and one for each entry of the other lists and maps."""
    lines = []
    for key in _KEYS:
        lines.append(f" {json.dumps(key)}: {_block(content.get(key))}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _block(value: Any) -> str:
    if isinstance(value, Mapping) and value:
        return "{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()) + "\n }"
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return "[\n" + ",\n".join(f"  {json.dumps(v)}" for v in value) + "\n ]"
    return json.dumps(value)


def _position(known: list[Any], item: Any) -> int:
    """Return the position of ``item``, as JSON keeps it, in ``known``; append it if it is not there."""
    plain = json.loads(json.dumps(item))
    if plain not in known:
        known.append(plain)
    return int(known.index(plain))
