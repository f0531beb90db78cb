"""One model that fog and devices hold in common, kept in step by updates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord

from rinr_flower.errors import PayloadError
from rinr_flower.strategies.protocol import ARRAYS, UPDATES, updates_record
from rinr_flower.updates import apply_update
from rinr_flower.updates.envelope import Envelope
from rinr_flower.updates.layout import State, fingerprint


def tensors_of(arrays: ArrayRecord) -> dict[str, torch.Tensor]:
    """The model in a message's record, as tensors of its own."""
    return {name: torch.from_numpy(np.array(array.numpy())) for name, array in arrays.items()}


def arrays_of(state: State) -> ArrayRecord:
    """A model for a message's record."""
    return ArrayRecord({name: Array(tensor.detach().cpu().contiguous().numpy()) for name, tensor in state.items()})


def catch_up(state: State, updates: Sequence[bytes], model: bytes) -> State:
    """``state`` after those of ``updates``, in their order, that it does not contain yet.

    The first to apply is the one whose base is ``state``. ``model`` is the fingerprint that must come out.

    Raises
    ------
    PayloadError
        If no update is for ``state``, one is truncated or altered, or another model comes out; ``state`` is untouched.
    """
    held = fingerprint(state)
    if held == model:
        return state
    bases = [Envelope.from_bytes(data).base for data in updates]
    if held not in bases:
        raise PayloadError(
            f"the message makes the model {model.hex()} with {len(updates)} updates, none of them for the model "
            f"{held.hex()} that this device holds; send it the whole model"
        )
    for data in updates[bases.index(held) :]:
        state = apply_update(state, data)
    if fingerprint(state) != model:
        raise PayloadError(f"the updates end in the model {fingerprint(state).hex()}; the fog's is {model.hex()}")
    return state


class UpdateChain:
    """The fog's end of the model in common: its updates, and how many of them each device has confirmed.

    A device gets the start model once and from then on updates: all that it has not confirmed, or the whole present
    model if that is smaller, or if it has said that it cannot use what it was sent.

    Parameters
    ----------
    start : the model that all begin with.
    arrays : the present model, where there have been updates before; None: ``start``.
    updates : those updates.
    held : how many of them each device has confirmed, by its name; None: unknown, or it holds another model.

    Attributes
    ----------
    state, arrays, fingerprint : the present model.
    updates : all so far, each for the model that the one before it makes.
    """

    def __init__(
        self,
        start: ArrayRecord,
        arrays: ArrayRecord | None = None,
        updates: Iterable[bytes] = (),
        held: Mapping[str, int | None] | None = None,
    ) -> None:
        self.start = start
        self.arrays = start if arrays is None else arrays
        self.state: State = tensors_of(self.arrays)
        self.fingerprint = fingerprint(self.state)
        self.updates = list(updates)
        self.held = dict(held or {})
        self._sent: dict[str, int] = {}  # device -> updates contained in what it was sent last

    def advance(self, update: bytes) -> None:
        """Go on to the model that ``update`` makes, which is what devices will hold, bit for bit."""
        self.state = apply_update(self.state, update)
        self.arrays = arrays_of(self.state)
        self.fingerprint = fingerprint(self.state)
        self.updates.append(update)

    def content(self, device: str) -> dict[str, ArrayRecord | ConfigRecord]:
        """The records that bring a device to the present model."""
        self._sent[device] = len(self.updates)
        held = self.held.get(device, 0)
        missing = self.updates if held is None else self.updates[held:]
        whole = sum(len(array.data) for array in self.arrays.values())
        if held is None or sum(map(len, missing)) >= whole:
            return {ARRAYS: self.arrays, UPDATES: updates_record((), self.fingerprint)}
        arrays = ArrayRecord() if device in self.held else self.start
        return {ARRAYS: arrays, UPDATES: updates_record(missing, self.fingerprint)}

    def holds(self, device: str) -> bool:
        """True if the device has confirmed a model in common, present or earlier."""
        return self.held.get(device) is not None

    def awaits(self, device: str) -> bool:
        """True if the device has been sent the model and has not answered yet."""
        return device in self._sent

    def confirm(self, device: str) -> None:
        """The device holds what it was sent last."""
        if device in self._sent:
            self.held[device] = self._sent.pop(device)

    def missed(self, device: str, *, unusable: bool) -> None:
        """The device did not confirm; ``unusable`` if it answered that it could not take what it was sent."""
        if self._sent.pop(device, None) is not None and unusable:
            self.held[device] = None

    def forget(self, device: str) -> None:
        """The device has lost its model: it gets the start model and what came after it."""
        self._sent.pop(device, None)
        self.held.pop(device, None)
