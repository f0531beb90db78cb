"""Classical federated learning with compressed models both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg, Strategy

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import RinrError
from rinr_flower.messages.common_model import FEDERATED
from rinr_flower.messages.protocol import ARRAYS, COMPRESSOR, METRICS, RETURN_MODEL
from rinr_flower.strategies.common_model import CommonModel
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.options import refuse
from rinr_flower.strategies.policy import Outgoing, Policy, Round
from rinr_flower.updates import UpdateCompressor


class UpdatesBothWays(Policy):
    """Models travel as compressed updates; the inner strategy sees the models that they make."""

    common: CommonModel

    def __init__(self, compressor: str | Mapping[str, Any] | UpdateCompressor) -> None:
        self.common = CommonModel(compressor)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "compressor": repr(self.common.compressor)}

    def summary(self) -> str:
        return f"Updates both ways by {self.common.compressor}"

    def train_config(self, config: ConfigRecord) -> ConfigRecord:
        return ConfigRecord({**config, RETURN_MODEL: False, COMPRESSOR: json.dumps(self.common.options())})

    def train_content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        return Outgoing(self.evaluate_content(device, content))

    def evaluate_content(self, device: str, content: RecordDict) -> RecordDict:
        """The inner strategy's message with updates instead of the model."""
        return RecordDict({**content, **self.common.chain.content(device)})

    def trained(self, content: RecordDict) -> RecordDict:
        """The answer with the model that its one update makes, where the inner strategy looks for it."""
        model = self.common.trained(content)
        return RecordDict({ARRAYS: model, METRICS: next(iter(content.metric_records.values()))})

    def aggregated(
        self, fog_round: Round, arrays: ArrayRecord | None, metrics: MetricRecord | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Go on to the model that the update towards the inner strategy's average makes."""
        if arrays is None:
            return None, metrics
        try:
            self.common.go_towards(arrays, seed=fog_round.number)
        except RinrError as error:
            fog_round.memory.fail(fog_round.number, FOG, "error", f"the averaged model gives no update: {error}")
        return self.common.chain.arrays, metrics


class CompressedFedAvg(FogNode):
    """No captures are shared: devices train on their own, and models travel as compressed updates both ways.

    Wraps any Flower strategy that averages models. Up: what a device's training changed in the model in common, with
    error feedback that the device keeps. Down: what averaging changed in it, with the fog's own
    error feedback. The model in common is what the updates make of it, so fog and devices hold the same weights; a
    device trains from them and keeps them, not its own result.

    Parameters
    ----------
    compressor : of both directions: a compressor, its name, or a mapping with ``name`` and options.
    inner : the strategy that averages; None is ``FedAvg()``.
    **options : as for :class:`FogNode`, without ``codec``, ``upload`` and ``policy``.
    """

    def __init__(
        self,
        compressor: str | Mapping[str, Any] | UpdateCompressor = FEDERATED,
        *,
        inner: Strategy | None = None,
        **options: Any,
    ) -> None:
        refuse(self, options, "codec", "upload", "policy")
        averaging = FedAvg() if inner is None else inner
        super().__init__("jpeg", upload=None, inner=averaging, policy=UpdatesBothWays(compressor), **options)
