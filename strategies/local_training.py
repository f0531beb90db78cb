"""No aggregation: every device keeps its own model, as in the papers' on-device learning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from logging import getLogger

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from rinr_flower.messages.protocol import ARRAYS, CONFIG, NUM_EXAMPLES, RETURN_MODEL, SERVER_ROUND

log = getLogger("flwr.rinr_flower")


class LocalTraining(Strategy):
    """Every device trains a model of its own; models never leave their devices.

    The initial arrays are the start model. A device receives them once: in the first round that it attends, and again
    only while it has not confirmed them with an answer.
    """

    def __init__(self) -> None:
        self._equipped: set[int] = set()

    def equip(self, node: int, equipped: bool) -> None:
        """Say whether a node has a model of its own, where that is known from elsewhere."""
        (self._equipped.add if equipped else self._equipped.discard)(node)

    def summary(self) -> None:
        log.info("\t├──> Each device keeps its own model")

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The start model to those that do not have it yet, a request to train to all."""
        record = ConfigRecord({**config, SERVER_ROUND: server_round, RETURN_MODEL: False})
        return [
            Message(
                RecordDict({ARRAYS: ArrayRecord() if node in self._equipped else arrays, CONFIG: record}),
                dst_node_id=node,
                message_type=MessageType.TRAIN,
            )
            for node in grid.get_node_ids()
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Averaged metrics; there is no common model."""
        answers = [reply for reply in replies if reply.has_content()]
        self._equipped |= {reply.metadata.src_node_id for reply in answers}
        return None, _average(answers)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """A request to evaluate the device's own model to all that have one."""
        record = ConfigRecord({**config, SERVER_ROUND: server_round})
        content = RecordDict({ARRAYS: ArrayRecord(), CONFIG: record})
        nodes = [node for node in grid.get_node_ids() if node in self._equipped]
        return [Message(content, dst_node_id=node, message_type=MessageType.EVALUATE) for node in nodes]

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Metrics averaged over the devices, weighted by their frames."""
        return _average([reply for reply in replies if reply.has_content()])


def _average(answers: Sequence[Message]) -> MetricRecord | None:
    """Numbers, and lists of one length, that all answers have, averaged with their number of examples as weight."""
    if not answers:
        return None
    records = [next(iter(answer.content.metric_records.values())) for answer in answers]
    weights = np.array([record[NUM_EXAMPLES] for record in records], float)
    shapes = [{k: np.shape(value) for k, value in record.items()} for record in records]
    names = [k for k in records[0] if k != NUM_EXAMPLES and all(s.get(k) == shapes[0][k] for s in shapes)]
    return MetricRecord({k: np.average([r[k] for r in records], axis=0, weights=weights).tolist() for k in names})
