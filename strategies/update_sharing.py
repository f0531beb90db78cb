"""What strategies have in common that keep one model in step on all devices by compressed updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from rinr_flower.errors import DataError
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.protocol import UPDATES, check_metrics, read_updates
from rinr_flower.strategies.replies import Lost
from rinr_flower.strategies.training import Training
from rinr_flower.strategies.update_chain import UpdateChain
from rinr_flower.updates import Memory, UpdateCompressor, updates


class UpdateSharing(FogNode):
    """A fog node whose devices hold one model in common with it.

    Every answer names the model that its device holds. A device that answers with an error or holds another model gets
    the whole model in the next round that it attends.

    Parameters
    ----------
    compressor : what makes updates: a compressor, its name, or a mapping with ``name`` and options.
    codec, **options : as for :class:`FogNode`.

    Attributes
    ----------
    chain : the model and its updates; before the first round there is none.
    update_bytes : sizes of all updates made so far, on either end, sent or not.
    """

    def __init__(
        self, compressor: str | Mapping[str, Any] | UpdateCompressor, codec: str | Mapping[str, Any], **options: Any
    ) -> None:
        super().__init__(codec, **options)
        self.compressor = compressor if isinstance(compressor, UpdateCompressor) else updates.create(compressor)
        self.chain = UpdateChain(ArrayRecord())
        self.update_bytes: list[int] = []
        self._memory = Memory()  # what updates to the devices still owe

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """As for :class:`FogNode`; empty ``initial_arrays`` start from the weights that the training's seed gives.

        A strategy that has run before goes on with its model.
        """
        if not self.chain.state:
            if not initial_arrays:
                first = Training.of_config(train_config or {}).detector().state()
                initial_arrays = ArrayRecord({name: Array(array) for name, array in first.items()})
            self.chain = UpdateChain(initial_arrays)
        result = super().start(grid, self.chain.start, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)
        result.arrays = self.chain.arrays
        return result

    def compressor_options(self) -> dict[str, Any]:
        """The compressor as a mapping with ``name`` and options."""
        return {"name": self.compressor.name, **dataclasses.asdict(self.compressor)}

    def _check(self, reply: Message) -> None:
        check_metrics(reply.content)
        if self.chain.awaits(reply.metadata.src_node_id):
            found = read_updates(reply.content)
            if found is None:
                raise DataError(f"the answer has no ConfigRecord {UPDATES!r}; it must say which model the device holds")
            if found[1] != self.chain.fingerprint:
                raise DataError(
                    f"the device holds the model {found[1].hex()}, the fog's is {self.chain.fingerprint.hex()}; "
                    "it gets the whole model next time"
                )

    def _received(self, node: int) -> None:
        super()._received(node)
        self.chain.confirm(node)

    def _note(self, server_round: int, lost: Iterable[Lost]) -> None:
        losses = list(lost)
        for item in losses:
            self.chain.missed(item.node, unusable=item.kind != "timeout")
        super()._note(server_round, losses)
