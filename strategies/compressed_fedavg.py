"""Classical federated learning with compressed models both ways."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import DataError, RinrError
from rinr_flower.messages.common_model import arrays_of, tensors_of
from rinr_flower.messages.protocol import (
    ARRAYS,
    COMPRESSOR,
    METRICS,
    RETURN_MODEL,
    check_metrics,
    check_numbers,
    read_updates,
)
from rinr_flower.report import FailureRecord
from rinr_flower.strategies.metering import Clip
from rinr_flower.strategies.update_sharing import UpdateSharing
from rinr_flower.updates import UpdateCompressor, apply_update

log = getLogger("flwr.rinr_flower")


class CompressedFedAvg(UpdateSharing):
    """No captures are shared: devices train on their own, and models travel as compressed updates both ways.

    Wraps any Flower strategy that averages models. Up: what a device's training changed in the model in common, with
    error feedback that the device keeps. Down: what averaging changed in it, with the fog's own
    error feedback. The model in common is what the updates make of it, so fog and devices hold the same weights; a
    device trains from them and keeps them, not its own result.

    Parameters
    ----------
    compressor : of both directions: a compressor, its name, or a mapping with ``name`` and options.
    inner : the strategy that averages; None is ``FedAvg()``.
    **options : as for :class:`FogNode`, without ``codec`` and ``upload``.
    """

    def __init__(
        self,
        compressor: str | Mapping[str, Any] | UpdateCompressor = "stc",
        *,
        inner: Strategy | None = None,
        **options: Any,
    ) -> None:
        super().__init__(compressor, "jpeg", upload=None, inner=FedAvg() if inner is None else inner, **options)

    def summary(self) -> None:
        log.info("\t├──> Updates both ways: %s", self.compressor)
        log.info("\t├──> At least %d devices in a round", self.min_devices)
        self.inner.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, with updates instead of models."""
        asked = ConfigRecord({**config, RETURN_MODEL: False, COMPRESSOR: json.dumps(self.compressor_options())})
        return super().configure_train(server_round, self.chain.arrays, asked, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Let the inner strategy average, and go on to what the update towards that average makes."""
        arrays, metrics = super().aggregate_train(server_round, replies)
        if arrays is None:
            return None, metrics
        base = self.chain.state
        try:
            average = {name: tensor.to(base[name].dtype) for name, tensor in tensors_of(arrays).items()}
            update = self.compressor.compress(base, average, memory=self._memory, seed=server_round)
            self.chain.advance(update)
            self.update_bytes.append(len(update))
        except RinrError as error:
            log.warning("round %d: the averaged model gives no update: %s", server_round, error)
            self.failures.append(FailureRecord(server_round, FOG, "error", str(error)))
        return self.chain.arrays, metrics

    def _training_content(self, server_round: int, device: str, content: RecordDict) -> tuple[RecordDict, list[Clip]]:
        return self._evaluation_content(device, content), []

    def _evaluation_content(self, device: str, content: RecordDict) -> RecordDict:
        return RecordDict({**content, **self.chain.content(device)})

    def _check(self, device: str, reply: Message) -> None:
        """Also puts the model that the update makes into the answer, where the inner strategy looks for it."""
        super()._check(device, reply)
        if reply.metadata.message_type != MessageType.TRAIN:
            return
        found = read_updates(reply.content)
        if found is None or len(found[0]) != 1:
            raise DataError(f"the answer has {0 if found is None else len(found[0])} updates; it must have one")
        trained = arrays_of(apply_update(self.chain.state, found[0][0]))
        for name, array in trained.items():
            check_numbers(name, array.numpy())
        self.update_bytes.append(len(found[0][0]))
        reply.content = RecordDict({ARRAYS: trained, METRICS: check_metrics(reply.content)})
