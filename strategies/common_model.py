"""The fog's end of the model in common: its chain of updates, and what it keeps of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, RecordDict

from rinr_flower.errors import DataError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.common_model import arrays_of, options_of, tensors_of
from rinr_flower.messages.protocol import UPDATES, check_numbers, read_updates
from rinr_flower.strategies.inner import prefixed, under
from rinr_flower.strategies.keeping import Arrays, Keep
from rinr_flower.strategies.update_chain import UpdateChain
from rinr_flower.updates import Memory, UpdateCompressor, apply_update, updates


class CommonModel:
    """The model that fog and devices hold bit for bit, brought up to date by compressed updates.

    Every answer names the model that its device holds. A device that answers with an error or holds another model gets
    the whole model in the next round that it attends.

    Parameters
    ----------
    compressor : what makes updates: a compressor, its name, or a mapping with ``name`` and options.

    Attributes
    ----------
    chain : the model and its updates; empty before the first round.
    feedback : the compressor's error feedback at the fog.
    update_bytes : sizes of all updates made so far, on either end, sent or not.
    """

    def __init__(self, compressor: str | Mapping[str, Any] | UpdateCompressor) -> None:
        self.compressor = compressor if isinstance(compressor, UpdateCompressor) else updates.create(compressor)
        self.chain = UpdateChain(StartModel())
        self.feedback = Memory("base")
        self.update_bytes: list[int] = []
        self._kept = 0  # updates that have been written down

    def options(self) -> dict[str, Any]:
        """The compressor as a mapping with ``name`` and options."""
        return options_of(self.compressor)

    def begin(self, start: StartModel) -> None:
        """Start the chain."""
        self.chain = UpdateChain(start)

    def check_answer(self, device: str, content: RecordDict) -> None:
        """DataError unless a device that was sent the model says that it holds it."""
        if not self.chain.awaits(device):
            return
        found = read_updates(content)
        if found is None:
            raise DataError(f"the answer has no record {UPDATES!r}; it must say which model the device holds")
        if found[1] != self.chain.fingerprint:
            raise DataError(
                f"the device holds the model {found[1].hex()}, the fog's is {self.chain.fingerprint.hex()}; "
                "it gets the whole model next time"
            )

    def trained(self, content: RecordDict) -> ArrayRecord:
        """The model that the one update of an answer makes; DataError if there is none or training has exploded."""
        found = read_updates(content)
        if found is None or len(found[0]) != 1:
            raise DataError(f"the answer has {0 if found is None else len(found[0])} updates; it must have one")
        model = arrays_of(apply_update(self.chain.state, found[0][0]))
        for name, array in model.items():
            check_numbers(name, array.numpy(), self.chain.arrays[name].numpy())
        self.update_bytes.append(len(found[0][0]))
        return model

    def go_towards(self, arrays: ArrayRecord, *, seed: int) -> int:
        """Go on to the model that the update towards ``arrays`` makes; the update's size in bytes.

        Raises DataError if the compressor does not carry the change.
        """
        chain = self.chain
        wanted = {name: tensor.to(chain.state[name].dtype) for name, tensor in tensors_of(arrays).items()}
        update = self.compressor.compress(chain.state, wanted, memory=self.feedback, seed=seed)
        chain.advance(update)
        self.update_bytes.append(len(update))
        return len(update)

    def state(self, keep: Keep) -> dict[str, Any]:
        """JSON values for :meth:`restore`; updates that are new since the last call go to ``keep``."""
        made = [keep.put("updates", data) for data in self.chain.updates[self._kept :]]
        self._kept = len(self.chain.updates)
        return {
            "updates": [[update.name, update.size] for update in made],
            "update_bytes": self.update_bytes,
            "held": self.chain.held,
        }

    def arrays(self) -> Arrays:
        """Arrays for :meth:`restore`."""
        return {**prefixed("residual", self.feedback.residual), **prefixed("basis", self.feedback.basis)}

    def restore(
        self,
        states: Sequence[Mapping[str, Any]],
        arrays: Arrays,
        keep: Keep,
        start: StartModel,
        present: ArrayRecord,
    ) -> None:
        """Restore the chain from what :meth:`state` gave after every round and :meth:`arrays` after the last one."""
        made = [keep.get("updates", *item).data for state in states for item in state["updates"]]
        self.chain = UpdateChain(start, present, made, states[-1]["held"])
        self.update_bytes = list(states[-1]["update_bytes"])
        for matrices, kind in ((self.feedback.residual, "residual"), (self.feedback.basis, "basis")):
            matrices.clear()
            matrices.update({name: np.asarray(array, np.float32) for name, array in under(kind, arrays).items()})
        self._kept = len(made)
