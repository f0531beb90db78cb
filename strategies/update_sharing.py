"""What strategies have in common that keep one model in step on all devices by compressed updates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import UPDATES, check_metrics, read_updates
from rinr_flower.messages.training import Training
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.keeping import Arrays
from rinr_flower.strategies.model_arrays import prefixed, under
from rinr_flower.strategies.replies import Lost
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
        self._memory = Memory("base")  # what updates to the devices still owe
        self._kept = 0  # updates that have been written down

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
        self.recall()
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

    def _check(self, device: str, reply: Message) -> None:
        check_metrics(reply.content)
        if self.chain.awaits(device):
            found = read_updates(reply.content)
            if found is None:
                raise DataError(f"the answer has no ConfigRecord {UPDATES!r}; it must say which model the device holds")
            if found[1] != self.chain.fingerprint:
                raise DataError(
                    f"the device holds the model {found[1].hex()}, the fog's is {self.chain.fingerprint.hex()}; "
                    "it gets the whole model next time"
                )

    def _received(self, device: str) -> None:
        super()._received(device)
        self.chain.confirm(device)

    def _forget(self, device: str) -> None:
        super()._forget(device)
        self.chain.forget(device)

    def _note(self, server_round: int, lost: Iterable[Lost]) -> None:
        losses = list(lost)
        for item in losses:
            self.chain.missed(self.exchange.name(item.node), unusable=item.kind in ("error", "malformed"))
        super()._note(server_round, losses)

    def _state(self) -> dict[str, Any]:
        made = [self.keep.put("updates", data) for data in self.chain.updates[self._kept :]]
        self._kept = len(self.chain.updates)
        return {
            **super()._state(),
            "updates": [[update.name, update.size] for update in made],
            "update_bytes": self.update_bytes,
            "held": self.chain.held,
        }

    def _more_arrays(self) -> dict[str, Any]:
        residual, basis = prefixed("residual", self._memory.residual), prefixed("basis", self._memory.basis)
        return {**super()._more_arrays(), **residual, **basis}

    def _take_up(self, states: list[Mapping[str, Any]], arrays: Arrays) -> None:
        super()._take_up(states, arrays)
        updates = [self.keep.get("updates", *item).data for state in states for item in state["updates"]]
        start = ArrayRecord() if self.start_arrays is None else self.start_arrays
        present = start if self._arrays is start else self._arrays
        self.chain = UpdateChain(start, present, updates, states[-1]["held"])
        self.update_bytes = list(states[-1]["update_bytes"])
        for matrices, kind in ((self._memory.residual, "residual"), (self._memory.basis, "basis")):
            matrices.clear()
            matrices.update({name: np.asarray(array, np.float32) for name, array in under(kind, arrays).items()})
        self._kept = len(updates)
