"""Metering: every Flower message is entered into the ledger where it is sent, and counted as Flower stores it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import groupby

from flwr.app import Array, ArrayRecord, Message
from flwr.common.serde import array_record_to_proto, message_to_proto

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.bandwidth.ledger import CONTROL, FOG, MODEL, PAYLOAD, REFUSED, SHARE, START_MODEL, UPDATE, UPLOAD
from rinr_flower.messages.coded_model import StartModel, is_coded
from rinr_flower.messages.protocol import MODEL_KEY, PAYLOADS, UPDATES, UPLOADS, bytes_record
from rinr_flower.messages.records import size_of
from rinr_flower.report import StoredRecord

Clip = tuple[str, str, Array]
"""Device that captured it, name, payload."""


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
        self.start_model: StartModel | None = None
        self._seen: dict[int, bytes] = {}  # contents of arrays in the present exchange, by their identity
        self._sent = self._stored = 0

    def begin(self) -> None:
        """Begin an exchange."""
        self._seen.clear()
        self._sent = self._stored = 0

    def stored(self, server_round: int, kind: str) -> StoredRecord:
        """What the exchange's questions take at the SuperLink, which stores an Array once for all messages."""
        return StoredRecord(server_round, kind, self._sent, self._stored)

    def asked(self, server_round: int, device: str, message: Message, clips: Iterable[Clip]) -> None:
        """Enter a message from the fog with the payloads ``clips``."""
        sent = list(clips)
        if self.direct:
            for owner, group in groupby(sent, key=lambda clip: clip[0]):
                self._enter_clips(server_round, owner, device, SHARE, list(group))
        else:
            self._enter_clips(server_round, FOG, device, PAYLOAD, sent)
        size = self._enter_rest(server_round, FOG, device, message, _size([array for *_, array in sent]))
        self._sent += size
        self._stored += size
        for array in (array for record in message.content.array_records.values() for array in record.values()):
            if id(array.data) in self._seen:
                self._stored -= len(array.data)
            self._seen[id(array.data)] = array.data

    def answered(self, server_round: int, device: str, message: Message, clips: Sequence[str]) -> None:
        """Enter a message to the fog. ``clips``: the names of the captures in it."""
        uploads = list(message.content.array_records.get(UPLOADS, ArrayRecord()).values())
        sent = [(device, clip, array) for clip, array in zip(clips, uploads, strict=True)] if clips else []
        if not self.direct:
            self._enter_clips(server_round, device, FOG, UPLOAD, sent)
        self._enter_rest(server_round, device, FOG, message, _size([array for *_, array in sent]))

    def refused(self, server_round: int, device: str, message: Message) -> None:
        """Enter a message to the fog that could not be used, whatever is in it."""
        size = int(message_to_proto(message).ByteSize())
        self.ledger.append(Entry(server_round, device, FOG, REFUSED, 0, size))

    def _enter_clips(self, server_round: int, source: str, to: str, kind: str, clips: Sequence[Clip]) -> None:
        if clips:
            items = [(f"{owner}/{clip}", len(array.data)) for owner, clip, array in clips]
            self.ledger.append_message(server_round, source, to, kind, items, _size([array for *_, array in clips]))

    def _enter_rest(self, server_round: int, source: str, to: str, message: Message, entered: int) -> int:
        """Enter all of a message but the clips, whose ``entered`` bytes are in the ledger; bytes of the message."""
        whole = int(message_to_proto(message).ByteSize())
        rest = whole - entered
        for name, arrays in message.content.array_records.items():
            if name in (PAYLOADS, UPLOADS) or not arrays:
                continue
            size = int(array_record_to_proto(arrays).ByteSize())
            if name == UPDATES:
                updates = [array.data for key, array in arrays.items() if key != MODEL_KEY]
                items = [(_label(data) if source == FOG else "", len(data)) for data in updates]
                if items:
                    self.ledger.append_message(server_round, source, to, UPDATE, items, size)
                    rest -= size
                continue
            numbers = size_of(arrays)
            begins = source == FOG and UPDATES in message.content  # from this model the device goes on by updates
            begins = begins or (self.start_model is not None and self.start_model.carried_by(arrays))
            kind = START_MODEL if begins else MODEL
            content = ("coded model" if is_coded(arrays) else "model") if source == FOG else ""  # the same to all
            self.ledger.append(Entry(server_round, source, to, kind, numbers, size, content))
            rest -= size
        self.ledger.append(Entry(server_round, source, to, CONTROL, 0, rest))
        return whole


def _label(update: bytes) -> str:
    """The same for the same update: one transmission where the link broadcasts."""
    return f"update {hashlib.sha256(update).hexdigest()[:12]}"


def _size(arrays: Sequence[Array]) -> int:
    """Serialised bytes of a record that carries payloads."""
    return int(array_record_to_proto(bytes_record(arrays)).ByteSize()) if arrays else 0
