"""Who sent a message: Ed25519 signatures over its content, its round, its sender and its receiver.

Flower authenticates connections, not contents: a node can answer in another node's name, and answers can be sent again.
With an identity on both ends, every message carries one more ConfigRecord, ``signature``::

    job, round, kind   which exchange it belongs to; ``kind`` is Flower's message type (query, train, evaluate)
    sender, receiver   names; the fog is ``fog``, a device that has not told its name yet is ``node ID``
    about              in an answer: which question it answers, see :func:`name_of`; else empty
    signature          over all of these and a digest of all other records

The fog asks and checks the answer::

    question = identity.seal(content, job=job, server_round=3, kind=MessageType.TRAIN, receiver="camera-1")
    device, content = identity.open(reply.content, question=question, sender="camera-1")

The device checks what it is asked and signs what it answers::

    content = identity.open(message.content, kind=message.metadata.message_type, node=context.node_id)
    answer = identity.seal(content, question=message.content)

``open`` returns the content without the record ``signature``, or raises :class:`ForgedError`.

Keys are files, see ``key_files``.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import DataError
from rinr_flower.messages.key_files import load_device_keys, load_private_key, load_public_key
from rinr_flower.names import MAX_NAME_LENGTH

SIGNATURE = "signature"  # ConfigRecord: what this module adds to a message
_DOMAIN = b"rinr_flower message 1"


class ForgedError(DataError):
    """A message is unsigned, altered, by another sender, for another receiver, or of another exchange."""


@dataclass(frozen=True)
class Header:
    """What is signed besides the content; the fields are explained in this module's description."""

    job: str
    round: int
    kind: str
    sender: str
    receiver: str
    about: str = ""


def node_name(node: int) -> str:
    """What the fog calls the node of a device that has not told its name yet."""
    return f"node {node}"


def name_of(content: RecordDict) -> str:
    """32 hex digits that stand for one signed message; ForgedError if it has no signature."""
    _, signature = _read(content)
    return hashlib.sha256(signature).hexdigest()[:32]


def digest(content: RecordDict) -> bytes:
    """SHA-256 over all records but the signature, whatever the order of the records and of the keys in them.

    Arrays count in their order, because Flower keeps it and a strategy may rely on it.
    """
    hasher = hashlib.sha256()
    for name in sorted(content):
        record = content[name]
        if name == SIGNATURE:
            continue
        arrays = isinstance(record, ArrayRecord)
        _feed(hasher, [type(record).__name__, name, len(record), *(record if arrays else sorted(record))])
        if isinstance(record, ArrayRecord):
            for array in record.values():
                _feed(hasher, [array.dtype, list(array.shape), array.stype, array.data])
        else:
            _feed(hasher, [record[key] for key in sorted(record)])
    return hasher.digest()


class FogIdentity:
    """The fog's end.

    Parameters
    ----------
    private_key : the fog's own.
    devices : public key of every device, by name. Others are refused.
    """

    def __init__(self, private_key: Ed25519PrivateKey, devices: Mapping[str, Ed25519PublicKey]) -> None:
        self._key = private_key
        self.devices = dict(devices)

    @classmethod
    def load(cls, private_key: Path, devices: Path) -> FogIdentity:
        """From key files; ConfigError that names the file."""
        return cls(load_private_key(private_key), load_device_keys(devices))

    def seal(self, content: RecordDict, *, job: str, server_round: int, kind: str, receiver: str) -> RecordDict:
        """``content``, signed. ``receiver`` is the device's name, or :func:`node_name` while that is unknown."""
        return _seal(content, Header(job, server_round, kind, FOG, receiver), self._key)

    def open(self, content: RecordDict, *, question: RecordDict, sender: str | None = None) -> tuple[str, RecordDict]:
        """The sender's name and the content of an answer.

        Parameters
        ----------
        content : of the answer.
        question : what :meth:`seal` made of the message that it answers.
        sender : the device that was asked, if its name is known; else any device that has a key.

        Raises
        ------
        ForgedError
            If the answer is not by that device and to that question, or is not as its sender made it.
        """
        asked, _ = _read(question)
        header, signature = _read(content)
        if header.sender not in self.devices:
            raise ForgedError(f"the answer is by {header.sender!r}, for which the fog has no key")
        if sender is not None and header.sender != sender:
            raise ForgedError(f"the answer is by {header.sender!r}; {sender!r} was asked")
        expected = Header(asked.job, asked.round, asked.kind, header.sender, FOG, name_of(question))
        _verify(content, header, signature, self.devices[header.sender])
        _compare(header, expected)
        return header.sender, _without_signature(content)


class DeviceIdentity:
    """A device's end.

    Parameters
    ----------
    name : the device's own.
    private_key : the device's own.
    fog_key : the fog's public key; messages by others are refused.
    """

    def __init__(self, name: str, private_key: Ed25519PrivateKey, fog_key: Ed25519PublicKey) -> None:
        self.name = name
        self._key = private_key
        self._fog_key = fog_key

    @classmethod
    def load(cls, name: str, private_key: Path, fog_key: Path) -> DeviceIdentity:
        """From key files; ConfigError that names the file."""
        return cls(name, load_private_key(private_key), load_public_key(fog_key))

    def open(self, content: RecordDict, *, kind: str, node: int) -> RecordDict:
        """The content of a question of the fog to this device.

        That its round is not over is for the device's state to know, see ``rinr_flower.clients.DeviceState``.

        Parameters
        ----------
        content : of the question.
        kind : Flower's type of the message that brought it.
        node : Flower's id of the node that this device is now.

        Raises
        ------
        ForgedError
            If it is not by the fog, not for this device, of another kind, or not as the fog made it.
        """
        header, signature = _read(content)
        receiver = header.receiver if header.receiver in (self.name, node_name(node)) else self.name
        _verify(content, header, signature, self._fog_key)
        _compare(header, Header(header.job, header.round, kind, FOG, receiver))
        return _without_signature(content)

    def seal(self, content: RecordDict, *, question: RecordDict) -> RecordDict:
        """``content`` and this device's signature, as the answer to ``question``, which has been opened before."""
        asked, _ = _read(question)
        return _seal(content, Header(asked.job, asked.round, asked.kind, self.name, FOG, name_of(question)), self._key)


def _seal(content: RecordDict, header: Header, key: Ed25519PrivateKey) -> RecordDict:
    record = ConfigRecord({**asdict(header), "signature": key.sign(_signed_bytes(content, header))})
    return RecordDict({**_without_signature(content), SIGNATURE: record})


def _read(content: RecordDict) -> tuple[Header, bytes]:
    """The header and the signature that a message claims; ForgedError unless it has both, of the right types."""
    record = content.config_records.get(SIGNATURE)
    if record is None:
        raise ForgedError("the message is not signed; configure this end's key, or take the keys of the other end out")
    values: dict[str, Any] = {name: record.get(name) for name in (*Header.__dataclass_fields__, "signature")}
    signature = values.pop("signature")
    number = values["round"]
    texts = [value for name, value in values.items() if name != "round"]
    if type(signature) is not bytes or type(number) is not int or not all(_is_short(text) for text in texts):
        raise ForgedError(f"the record {SIGNATURE!r} lacks a field, or one is of another type or too long")
    return Header(**values), signature


def _is_short(value: object) -> bool:
    return type(value) is str and len(value) <= MAX_NAME_LENGTH


def _verify(content: RecordDict, header: Header, signature: bytes, key: Ed25519PublicKey) -> None:
    try:
        key.verify(signature, _signed_bytes(content, header))
    except InvalidSignature:
        raise ForgedError(
            f"the signature is not by the key of {header.sender!r}, or the message was altered on its way"
        ) from None


def _compare(header: Header, expected: Header) -> None:
    """ForgedError that names the first field in which a signed message is not of the expected exchange."""
    for name, value in asdict(header).items():
        wanted = getattr(expected, name)
        if value != wanted:
            raise ForgedError(
                f"a message by {header.sender!r} of another exchange: its {name} is {value!r}, not {wanted!r}"
            )


def _without_signature(content: RecordDict) -> RecordDict:
    return RecordDict({name: record for name, record in content.items() if name != SIGNATURE})


def _signed_bytes(content: RecordDict, header: Header) -> bytes:
    hasher = hashlib.sha256()
    _feed(hasher, asdict(header).values())
    return _DOMAIN + hasher.digest() + digest(content)


def _feed(hasher: Any, values: Iterable[object]) -> None:
    """Values into a hash so that no two different sequences give the same bytes: each with its type and its length."""
    for value in values:
        if isinstance(value, list):
            hasher.update(b"l" + struct.pack("<Q", len(value)))
            _feed(hasher, value)
            continue
        if isinstance(value, bool):
            tag, data = b"?", bytes([value])
        elif isinstance(value, int):
            tag, data = b"i", str(value).encode()
        elif isinstance(value, float):
            tag, data = b"d", struct.pack("<d", value)
        elif isinstance(value, str):
            tag, data = b"s", value.encode("utf-8", errors="surrogatepass")
        else:
            assert isinstance(value, bytes)
            tag, data = b"b", value
        hasher.update(tag + struct.pack("<Q", len(data)))
        hasher.update(data)
