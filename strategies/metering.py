"""What every Flower message weighs, entered into the ledger where it is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import groupby

from flwr.app import ArrayRecord, Message
from flwr.common.serde import array_record_to_proto, config_record_to_proto, message_to_proto

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.bandwidth.ledger import CONTROL, FOG, MODEL, PAYLOAD, REFUSED, SHARE, START_MODEL, UPDATE, UPLOAD
from rinr_flower.messages.protocol import UPDATES, payloads_record

Clip = tuple[str, str, bytes]
"""Device that captured it, name, bytes."""


class Meter:
    """Enters messages between the fog and its devices into a ledger.

    A message becomes one entry for each clip and each model update in it, one for its model, and one for all the rest,
    whose message bytes add up to the serialised message.

    Parameters
    ----------
    ledger : takes the entries.
    direct : devices send clips to each other, and Flower's server only stands in for their radio: clips are entered
        from device to device, as messages of their own, and uploads are not entered at all.
    """

    def __init__(self, ledger: Ledger, *, direct: bool = False) -> None:
        self.ledger = ledger
        self.direct = direct
        self.start_model: ArrayRecord | None = None

    def asked(self, server_round: int, device: str, message: Message, clips: Iterable[Clip]) -> None:
        """A message from the fog with the payloads ``clips``."""
        sent = list(clips)
        if self.direct:
            for owner, group in groupby(sent, key=lambda clip: clip[0]):
                self._enter_clips(server_round, owner, device, SHARE, [(owner, c, data) for _, c, data in group])
        else:
            self._enter_clips(server_round, FOG, device, PAYLOAD, sent)
        self._enter_rest(server_round, FOG, device, message, [data for *_, data in sent])

    def answered(self, server_round: int, device: str, message: Message, clips: Iterable[tuple[str, bytes]]) -> None:
        """A message to the fog. ``clips``: (clip, bytes) of every capture in it."""
        sent = [(device, clip, data) for clip, data in clips]
        if not self.direct:
            self._enter_clips(server_round, device, FOG, UPLOAD, sent)
        self._enter_rest(server_round, device, FOG, message, [data for *_, data in sent])

    def refused(self, server_round: int, device: str, message: Message) -> None:
        """A message to the fog that could not be used, whatever is in it."""
        size = int(message_to_proto(message).ByteSize())
        self.ledger.append(Entry(server_round, device, FOG, REFUSED, 0, size))

    def _enter_clips(self, server_round: int, source: str, to: str, kind: str, clips: Sequence[Clip]) -> None:
        if clips:
            items = [(f"{owner}/{clip}", len(data)) for owner, clip, data in clips]
            self.ledger.append_message(server_round, source, to, kind, items, _size([data for *_, data in clips]))

    def _enter_rest(self, server_round: int, source: str, to: str, message: Message, carried: Sequence[bytes]) -> None:
        rest = int(message_to_proto(message).ByteSize()) - _size(carried)
        for arrays in message.content.array_records.values():
            if arrays:
                size = int(array_record_to_proto(arrays).ByteSize())
                numbers = sum(len(array.data) for array in arrays.values())
                kind = START_MODEL if arrays is self.start_model else MODEL
                content = "model" if source == FOG else ""  # the fog sends all devices the same
                self.ledger.append(Entry(server_round, source, to, kind, numbers, size, content))
                rest -= size
        updates = message.content.config_records.get(UPDATES)
        if updates is not None and (payloads := _blobs(updates.get("payloads"))):
            items = [(_label(data) if source == FOG else "", len(data)) for data in payloads]
            size = int(config_record_to_proto(updates).ByteSize())
            self.ledger.append_message(server_round, source, to, UPDATE, items, size)
            rest -= size
        self.ledger.append(Entry(server_round, source, to, CONTROL, 0, rest))


def _blobs(value: object) -> list[bytes]:
    """What is bytes in a record's list; a device may have put anything there."""
    return [item for item in value if isinstance(item, bytes)] if isinstance(value, list) else []


def _label(update: bytes) -> str:
    """The same for the same update: one transmission where the link broadcasts."""
    return f"update {hashlib.sha256(update).hexdigest()[:12]}"


def _size(clips: Sequence[bytes]) -> int:
    """Serialised bytes of a record that carries ``clips``."""
    return int(config_record_to_proto(payloads_record(clips)).ByteSize()) if clips else 0
