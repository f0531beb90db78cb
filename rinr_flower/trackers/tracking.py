"""A run and its trackers: what is told when, and what a tracker that fails costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rinr_flower.report.record import RunRecord
from rinr_flower.trackers.base import Tracker, trackers
from rinr_flower.trackers.metrics import round_metrics

log = logging.getLogger("flwr.rinr_flower")


class Tracking:
    """Tells all trackers of a run its metrics.

    A tracker that fails is named in the log and left out from then on: the run goes on.

    Parameters
    ----------
    specs : trackers by name, or as mappings with ``name`` and options. Raises ConfigError for an unknown one and for
        one whose client is not installed.
    """

    def __init__(self, specs: Sequence[str | Mapping[str, Any]]) -> None:
        self._trackers = [trackers.create(spec) for spec in specs]
        for tracker in self._trackers:
            tracker.check()
        self._told: dict[int, dict[str, float]] = {}

    def open(self, folder: Path, job: str, settings: Mapping[str, Any], record: RunRecord) -> None:
        """Begin; the rounds that ``record`` holds already were told by the run that was broken off."""
        self._told = round_metrics(record)
        self._all(lambda tracker: tracker.open(folder, job, settings))

    def tell(self, record: RunRecord) -> None:
        """Log what is new or has changed in the metrics of any round."""
        if not self._trackers:
            return
        for number, metrics in round_metrics(record).items():
            known = self._told.get(number, {})
            new = {name: value for name, value in metrics.items() if known.get(name) != value}
            if new:
                self._all(lambda tracker, number=number, new=new: tracker.log(number, new))  # type: ignore[misc]
            self._told[number] = metrics

    def close(self, record: RunRecord, files: Sequence[Path]) -> None:
        """Tell what only the whole run knows (PSNR, accuracy of the start model), hand over the report, and end."""
        self.tell(record)
        self._all(lambda tracker: tracker.close(files))

    def _all(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # a tracker must not cost the run; its client may raise anything
                log.warning("tracker %s is left out from now on: %s", tracker.name, " ".join(str(error).split()))
                self._trackers.remove(tracker)
