"""What a fog node remembers between rounds, by the names of its devices, and how that is written down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import holds_digest
from rinr_flower.report import FailureRecord
from rinr_flower.report.record import from_json, to_json
from rinr_flower.strategies.keeping import Blob, Keep


@dataclass(frozen=True, eq=False)
class Shared:
    """One clip that the fog shares.

    Attributes
    ----------
    round : when it was captured, from 1.
    device, clip : names of the device that captured it, and of the clip.
    camera_bytes : bytes of the camera's own files.
    upload : what that device uploaded.
    payload : what the other devices receive.
    encode_seconds : what the clip took to encode.
    """

    round: int
    device: str
    clip: str
    camera_bytes: int
    upload: Blob
    payload: Blob
    encode_seconds: float


@dataclass(frozen=True, eq=False)
class Measured:
    """What one device reported of its training or its evaluation in a round: numbers by name."""

    round: int
    device: str
    metrics: Mapping[str, Any]


@dataclass
class Holding:
    """What one device has for certain: numbers of shared clips.

    Attributes
    ----------
    covered : those that it needs no more, because it has them or an update that was trained on them.
    payloads : those of them that came to it as payloads.
    equipped : it has a model of its own, which began with the start model.
    resent : everything was sent again because it holds something else than the fog believed.
    """

    covered: set[int] = field(default_factory=set)
    payloads: set[int] = field(default_factory=set)
    equipped: bool = False
    resent: bool = False


@dataclass(frozen=True)
class Sent:
    """What was sent to a device and is not confirmed yet; the fields are those of :class:`Holding`."""

    covered: frozenset[int]
    payloads: frozenset[int]


class FogMemory:
    """What the fog knows after each round.

    Attributes
    ----------
    rounds : whole rounds so far.
    shared, failures, trained, evaluated : every one so far.
    devices : what each has, by the names of all devices that have ever answered.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self.shared: list[Shared] = []
        self.failures: list[FailureRecord] = []
        self.trained: list[Measured] = []
        self.evaluated: list[Measured] = []
        self.devices: dict[str, Holding] = {}
        self._sent: dict[str, Sent] = {}
        self._saved = (0, 0, 0, 0)  # lengths of the four lists when they were last written down

    def greet(self, device: str) -> Holding:
        """What a device has that has told its name."""
        return self.devices.setdefault(device, Holding())

    def missing(self, device: str) -> list[int]:
        """Numbers of the clips of other devices that it needs."""
        covered = self.greet(device).covered
        return [i for i, item in enumerate(self.shared) if item.device != device and i not in covered]

    def send(self, device: str, covered: Iterable[int], payloads: Iterable[int] = ()) -> None:
        """These clips are on their way to it, ``payloads`` of them as payloads."""
        self._sent[device] = Sent(frozenset(covered), frozenset(payloads))

    def confirm(self, device: str) -> None:
        """It has answered, so it has what it was sent last, and a model."""
        holding, sent = self.greet(device), self._sent.pop(device, None)
        holding.equipped = True
        if sent is not None:
            holding.covered |= sent.covered
            holding.payloads |= sent.payloads

    def compare(self, device: str, holds: str) -> bool:
        """Set right what a device has by what it says itself; False if it had a model and has lost all.

        Its answer to what it was sent last may be lost: then that has arrived after all. If it holds anything else than
        believed (the fog's memory or the device's is of another time), it gets all payloads again, once: payloads that
        it cannot read never count as held.
        """
        holding, sent = self.greet(device), self._sent.get(device)
        if not holds:
            lost = holding.equipped
            self._forget(holding)
            holding.equipped = False
            self._sent.pop(device, None)
            return not lost
        if holds == self._digest(holding.payloads):
            holding.resent = False
        elif sent is not None and holds == self._digest(holding.payloads | sent.payloads):
            self.confirm(device)
        elif not holding.resent:
            self._forget(holding)
            holding.resent = True
        return True

    def state(self) -> dict[str, Any]:
        """JSON values: what is new in the lists since the last call, and what each device has."""
        a, b, c, d = self._saved
        self._saved = (len(self.shared), len(self.failures), len(self.trained), len(self.evaluated))
        return {
            "shared": [_item(item) for item in self.shared[a:]],
            "failures": to_json(self.failures[b:]),
            "trained": [_measured(item) for item in self.trained[c:]],
            "evaluated": [_measured(item) for item in self.evaluated[d:]],
            "devices": {
                name: {
                    "covered": _ranges(holding.covered),
                    "payloads": _ranges(holding.payloads),
                    "equipped": holding.equipped,
                    "resent": holding.resent,
                }
                for name, holding in self.devices.items()
            },
        }

    def take_up(self, states: Iterable[Mapping[str, Any]], keep: Keep) -> None:
        """Know again what the states of all rounds so far say, in their order; DataError if one says nonsense."""
        try:
            for number, state in enumerate(states):
                self.rounds = number
                self.shared += [
                    Shared(
                        **{
                            **item,
                            "upload": keep.get("captures", *item["upload"]),
                            "payload": keep.get("payloads", *item["payload"]),
                        }
                    )
                    for item in state["shared"]
                ]
                self.failures += [from_json(FailureRecord, item) for item in state["failures"]]
                self.trained += [Measured(**item) for item in state["trained"]]
                self.evaluated += [Measured(**item) for item in state["evaluated"]]
                self.devices = {
                    name: Holding(
                        _numbers(item["covered"]), _numbers(item["payloads"]), item["equipped"], item["resent"]
                    )
                    for name, item in state["devices"].items()
                }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the state kept of round {self.rounds} is not a fog node's: {error}") from error
        self._saved = (len(self.shared), len(self.failures), len(self.trained), len(self.evaluated))

    def _digest(self, numbers: Iterable[int]) -> str:
        return holds_digest({self.shared[i].payload.name for i in numbers})

    @staticmethod
    def _forget(holding: Holding) -> None:
        holding.covered -= holding.payloads
        holding.payloads.clear()


def _item(item: Shared) -> dict[str, Any]:
    return {
        "round": item.round,
        "device": item.device,
        "clip": item.clip,
        "camera_bytes": item.camera_bytes,
        "upload": [item.upload.name, item.upload.size],
        "payload": [item.payload.name, item.payload.size],
        "encode_seconds": item.encode_seconds,
    }


def _measured(item: Measured) -> dict[str, Any]:
    return {"round": item.round, "device": item.device, "metrics": dict(item.metrics)}


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers as [first, last] of every unbroken stretch."""
    ordered = sorted(numbers)
    if not ordered:
        return []
    breaks = [i for i, (a, b) in enumerate(pairwise(ordered), start=1) if b != a + 1]
    return [[ordered[a], ordered[b - 1]] for a, b in pairwise([0, *breaks, len(ordered)])]


def _numbers(ranges: Iterable[Iterable[int]]) -> set[int]:
    """What :func:`_ranges` wrote."""
    return {number for first, last in ranges for number in range(first, last + 1)}
