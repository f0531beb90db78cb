"""The fog's end of the model in common: its updates, and how far each device is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord

from rinr_flower.messages.common_model import arrays_of, tensors_of
from rinr_flower.messages.protocol import ARRAYS, UPDATES, bytes_array, updates_record
from rinr_flower.updates import apply_update
from rinr_flower.updates.layout import State, fingerprint


class UpdateChain:
    """The fog's end of the model in common: its updates, and how many of them each device has confirmed.

    A device gets the whole present model once and from then on updates: all that it has not confirmed, or the whole
    present model if that is smaller, or if it has said that it cannot use what it was sent.

    Parameters
    ----------
    arrays : the present model.
    updates : those that have led to it.
    zeros : names, shapes and types of the model, where the first update begins at zeros: a device without a model then
        gets this and all updates if they are smaller than the present model; None where updates begin at another model.
    held : how many of them each device has confirmed, by its name; None: it holds another model.

    Attributes
    ----------
    state, arrays, fingerprint : the present model.
    updates : all so far, each for the model that the one before it makes.
    """

    def __init__(
        self,
        arrays: ArrayRecord,
        updates: Iterable[bytes] = (),
        held: Mapping[str, int | None] | None = None,
        zeros: ArrayRecord | None = None,
    ) -> None:
        self.zeros = zeros
        self.arrays = arrays
        self.state: State = tensors_of(self.arrays)
        self.fingerprint = fingerprint(self.state)
        self.updates = list(updates)
        self._arrays = [bytes_array(update) for update in self.updates]  # the same in all messages
        self.held = dict(held or {})
        self._sent: dict[str, int] = {}  # device -> updates contained in what it was sent last

    def advance(self, update: bytes) -> None:
        """Go on to the model that ``update`` makes, which is what devices will hold, bit for bit."""
        self.state = apply_update(self.state, update)
        self.arrays = arrays_of(self.state)
        self.fingerprint = fingerprint(self.state)
        self.updates.append(update)
        self._arrays.append(bytes_array(update))

    def content(self, device: str) -> dict[str, ArrayRecord]:
        """The records that bring a device to the present model."""
        self._sent[device] = len(self.updates)
        held = self.held.get(device)
        missing = self._arrays[held or 0 :]
        whole = sum(len(array.data) for array in self.arrays.values())
        begin = self.zeros if held is None else ArrayRecord()
        if begin is None or sum(len(array.data) for array in missing) >= whole:
            return {ARRAYS: self.arrays, UPDATES: updates_record((), self.fingerprint)}
        return {ARRAYS: begin, UPDATES: updates_record(missing, self.fingerprint)}

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
        """The device has lost its model: it gets the whole present one."""
        self._sent.pop(device, None)
        self.held.pop(device, None)
