"""A small file in a run's folder that says what the run is doing, for whoever watches it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "activity.json"
TEMPORARY = f".{FILE}"
EVERY_S = 1.0


@dataclass(frozen=True)
class Activity:
    """A piece of work and the fraction of it that is done, 0 to 1."""

    what: str
    done: float


def noted(folder: Path, progress: Callable[[str, float], None]) -> Callable[[str, float], None]:
    """``progress`` that also writes into ``folder`` what is going on, once a second. A full disk costs only that."""
    last, at = "", 0.0

    def report(what: str, done: float) -> None:
        nonlocal last, at
        now = time.monotonic()
        if what != last or now - at >= EVERY_S:
            last, at = what, now
            temporary = folder / TEMPORARY
            with suppress(OSError):
                temporary.write_text(json.dumps(asdict(Activity(what, min(max(done, 0.0), 1.0)))))
                os.replace(temporary, folder / FILE)
        progress(what, done)

    return report


def read_activity(folder: Path) -> Activity | None:
    """Read what :func:`noted` wrote last; None if nothing can be read."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Activity(str(content["what"]), float(content["done"]))
    return None
