"""Cases of a part: run in turn within the part's time, each written down when it is done."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..code_hash import digest_of
from ..results import ResultFile, Row

KEY = ("part", "case", "subject")


class NotHereError(Exception):
    """A case cannot run on this machine; the text says what is missing."""


@dataclass(frozen=True)
class Case:
    """One measurement: ``run`` returns its figures, or a row for each ``subject``, or raises NotHereError."""

    name: str
    run: Callable[[], Mapping[str, Any] | Sequence[Mapping[str, Any]]]


def run_cases(part: str, cases: Iterable[Case], code: Sequence[str], file: ResultFile, until: float) -> None:
    """Run the ``cases`` that ``file`` does not hold as done with the present ``code``, and add their rows to it.

    A case is left out, and named, if less time is left before ``until`` (as ``time.time()`` has it) than the longest
    case so far took. A case that fails is written down with the error, and the next one runs.
    """
    longest, digest = 0.0, digest_of(code)
    for case in cases:
        before = [row for row in file.rows if (row["part"], row["case"]) == (part, case.name)]
        if before and all("failed" not in r and "left_out" not in r and r["code"] == digest for r in before):
            continue
        start = time.perf_counter()
        rows = _rows(case, longest, until - time.time())
        took = time.perf_counter() - start
        longest = max(longest, took)
        file.keep(lambda row, name=case.name: (row["part"], row["case"]) != (part, name))  # type: ignore[misc]
        for row in rows:
            file.add({"part": part, "case": case.name, "subject": "", **row, "took_s": took}, code, key=KEY)


def _rows(case: Case, longest: float, left: float) -> list[Row]:
    if left <= longest:
        return [{"left_out": f"{max(0.0, left):.0f} s are left; run again to go on"}]
    try:
        found = case.run()
    except NotHereError as error:
        return [{"not_here": str(error)}]
    except Exception as error:  # whatever a device may raise: the other cases are still worth their time
        return [{"failed": f"{type(error).__name__}: {error}", "trace": traceback.format_exc(limit=-6)}]
    return [dict(found)] if isinstance(found, Mapping) else [dict(row) for row in found]
