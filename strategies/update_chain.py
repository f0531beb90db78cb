"""The fog's end of the model in common: its updates, and how far each device is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flwr.app import ArrayRecord

from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.common_model import arrays_of, tensors_of
from rinr_flower.messages.protocol import ARRAYS, UPDATES, bytes_array, updates_record
from rinr_flower.messages.records import size_of
from rinr_flower.updates import apply_update
from rinr_flower.updates.layout import State, fingerprint


class UpdateChain:
    """The fog's end of the model in common: its updates, and how many of them each device has confirmed.

    A device gets the start model once and then updates: all that it has not confirmed. Where the whole present model is
    smaller than those, it gets that, and also if it has said that it cannot use what it was sent. A device that has
    lost its model begins like a new one.

    Parameters
    ----------
    start : the model that the updates begin at, as devices get it.
    arrays : the present model, if it is not that one.
    updates : those that have led to it.
    held : how many of them each device has confirmed, by its name; None: it holds another model.

    Attributes
    ----------
    state, arrays, fingerprint : the present model.
    updates : all so far, each for the model that the one before it makes.
    """

    def __init__(
        self,
        start: StartModel,
        arrays: ArrayRecord | None = None,
        updates: Iterable[bytes] = (),
        held: Mapping[str, int | None] | None = None,
    ) -> None:
        self.start = start
        self.arrays = start.arrays if arrays is None else arrays
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
        begin = ArrayRecord() if held is not None else self.start.sent
        missing = self._arrays[held or 0 :]
        refused = device in self.held and held is None
        if refused or (
            missing and size_of(begin) + sum(len(update.data) for update in missing) >= size_of(self.arrays)
        ):
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
        """The device has lost its model: it begins like a new one."""
        self._sent.pop(device, None)
        self.held.pop(device, None)
