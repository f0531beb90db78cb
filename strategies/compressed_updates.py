"""Compressed updates around any Flower strategy, for ClientApps with the mod ``compressed``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.common_model import FEDERATED, tensors_of
from rinr_flower.messages.protocol import ARRAYS, UPDATES
from rinr_flower.messages.records import refill
from rinr_flower.strategies.common_model import CommonModel
from rinr_flower.strategies.inner import check_inner
from rinr_flower.updates import UpdateCompressor
from rinr_flower.updates.layout import fingerprint

log = getLogger("flwr.rinr_flower")


class CompressedUpdates(Strategy):
    """Send models as compressed updates, next to any Flower strategy that averages them.

    The server's end of the mod :func:`rinr_flower.clients.compressed`. The inner strategy samples, averages and
    evaluates as always. A node gets the start model once, coded (:mod:`rinr_flower.messages.coded_model`), and from
    then on updates: what averaging changed, with error feedback. A node's answer is an update to the model in common.
    Server and nodes hold the same weights, bit for bit; the arrays that a round returns are those. An answer that
    cannot be used is left out with a warning in the log; a node that holds another model gets the whole one next time.
    Strategies that change the model after averaging, such as those that add noise, stand inside or around. The initial
    arrays are rounded in place, to what their coded form holds.

    Parameters
    ----------
    strategy : averages models and sends the same model to all nodes, for example ``FedAvg()``.
    compressor : of the updates to the nodes: a compressor, its name, or a mapping with ``name`` and options.

    Attributes
    ----------
    common : the model in common; ``common.update_bytes`` are the sizes of all updates so far.
    """

    def __init__(self, strategy: Strategy, compressor: str | Mapping[str, Any] | UpdateCompressor = FEDERATED) -> None:
        check_inner(strategy)
        self.strategy = strategy
        self.common = CommonModel(compressor)
        self._begun = False

    def summary(self) -> None:
        log.info("\t├──> Updates by %s", self.common.compressor)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, with updates in the place of the model."""
        self._take(server_round, arrays)
        messages = self.strategy.configure_train(server_round, self.common.chain.arrays, config, grid)
        return [self._asked(message) for message in messages]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The model that the update towards the inner strategy's average makes, and its metrics."""
        before = len(self.common.update_bytes)
        answers = self._usable(replies, trained=True)
        up = self.common.update_bytes[before:]
        arrays, metrics = self.strategy.aggregate_train(server_round, answers)
        if arrays is None:
            return None, metrics
        down = self.common.go_towards(arrays, seed=server_round)
        log.info("round %d: %d updates up, %d bytes; one down, %d bytes", server_round, len(up), sum(up), down)
        return self.common.chain.arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, with the updates that a node lacks in the place of the model."""
        self._take(server_round, arrays)
        messages = self.strategy.configure_evaluate(server_round, self.common.chain.arrays, config, grid)
        return [self._asked(message) for message in messages]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        return self.strategy.aggregate_evaluate(server_round, self._usable(replies, trained=False))

    def _take(self, server_round: int, arrays: ArrayRecord) -> None:
        """Begin with ``arrays``, or go on towards them if a strategy around this one has changed the model."""
        if not self._begun:
            self.common.begin(start := StartModel.of(arrays))
            refill(arrays, start.arrays)  # a strategy around this one has taken it for the present model
            self._begun = True
        elif fingerprint(tensors_of(arrays)) != self.common.chain.fingerprint:
            self.common.go_towards(arrays, seed=server_round)

    def _asked(self, message: Message) -> Message:
        """A copy of a message with updates in the place of its model."""
        name = _model_in(message)
        brought = self.common.chain.content(str(message.metadata.dst_node_id))
        rest = {n: record for n, record in message.content.items() if n != name}
        asked = copy(message)
        asked.content = RecordDict({**rest, name: brought[ARRAYS], UPDATES: brought[UPDATES]})
        return asked

    def _usable(self, replies: Iterable[Message], *, trained: bool) -> list[Message]:
        """The answers that the inner strategy can read."""
        return [found for reply in replies if (found := self._answered(reply, trained=trained)) is not None]

    def _answered(self, reply: Message, *, trained: bool) -> Message | None:
        """An answer as the inner strategy reads it; None, with a warning, if it cannot be used."""
        node = str(reply.metadata.src_node_id)
        if not reply.has_content():
            self.common.chain.missed(node, unusable=True)
            return reply
        try:
            self.common.check_answer(node, reply.content)
            self.common.chain.confirm(node)
            model = {ARRAYS: self.common.trained(reply.content)} if trained else {}
        except RinrError as error:
            self.common.chain.missed(node, unusable=True)
            log.warning("the answer of node %s is left out: %s", node, error)
            return None
        rest = {name: record for name, record in reply.content.items() if name != UPDATES}
        reply.content = RecordDict({**rest, **model})
        return reply


def _model_in(message: Message) -> str:
    names = list(message.content.array_records)
    if len(names) != 1:
        raise ConfigError(
            f"the inner strategy's message has {len(names)} ArrayRecords; updates stand in the place of one model"
        )
    return names[0]
