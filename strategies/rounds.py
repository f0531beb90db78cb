"""The loop over rounds: Flower's own, but from any round on, and with a word after each."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

log = getLogger("flwr")

Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]
"""Flower's central evaluation: round and model to metrics."""


@dataclass(frozen=True)
class Rounds:
    """Carries out rounds of a strategy; the fields are arguments of Flower's ``Strategy.start``."""

    strategy: Strategy
    grid: Grid
    timeout: float
    train_config: ConfigRecord
    evaluate_config: ConfigRecord

    def run(
        self,
        done: int,
        last: int,
        start: ArrayRecord,
        arrays: ArrayRecord,
        finish: Callable[[int, ArrayRecord, float], None],
        evaluate_fn: Evaluate | None,
    ) -> Result:
        """Rounds ``done`` + 1 to ``last``.

        Parameters
        ----------
        start, arrays : the model before round 1, and before the next round.
        finish : called after each round with its number, the model after it, and its seconds.
        evaluate_fn : called with the model before round 1 and after each round.
        """
        log.info("Starting %s strategy: rounds %d to %d", type(self.strategy).__name__, done + 1, last)
        self.strategy.summary()
        result = Result()
        if arrays is not start:
            result.arrays = arrays
        if evaluate_fn is not None and done == 0:
            _enter(result.evaluate_metrics_serverapp, 0, evaluate_fn(0, arrays))
        for number in range(done + 1, last + 1):
            log.info("[ROUND %d/%d]", number, last)
            began = time.monotonic()
            arrays = self._round(number, arrays, result)
            if evaluate_fn is not None:
                _enter(result.evaluate_metrics_serverapp, number, evaluate_fn(number, arrays))
            finish(number, arrays, time.monotonic() - began)
        log.info("Final results:")
        for line in str(result).splitlines():
            log.info("\t%s", line)
        return result

    def _round(self, number: int, arrays: ArrayRecord, result: Result) -> ArrayRecord:
        """Train and evaluate once; the model after it."""
        messages = self.strategy.configure_train(number, arrays, self.train_config, self.grid)
        replies = self.grid.send_and_receive(messages, timeout=self.timeout)
        averaged, metrics = self.strategy.aggregate_train(number, replies)
        if averaged is not None:
            result.arrays = arrays = averaged
        _enter(result.train_metrics_clientapp, number, metrics)
        messages = self.strategy.configure_evaluate(number, arrays, self.evaluate_config, self.grid)
        replies = self.grid.send_and_receive(messages, timeout=self.timeout)
        _enter(result.evaluate_metrics_clientapp, number, self.strategy.aggregate_evaluate(number, replies))
        return arrays


def _enter(rows: dict[int, MetricRecord], number: int, metrics: MetricRecord | None) -> None:
    if metrics is not None:
        log.info("\t└──> round %d: %s", number, metrics)
        rows[number] = metrics
