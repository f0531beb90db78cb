"""The memory of a fog node between rounds: shared clips, what each device has of them, results, failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from logging import getLogger
from typing import Any

from flwr.app import MetricRecord

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import holds_digest
from rinr_flower.report import FailureRecord, StoredRecord
from rinr_flower.report.record import from_json, to_json
from rinr_flower.strategies.keeping import Blob, Keep

log = getLogger("flwr.rinr_flower")

Metrics = dict[str, Any]
"""The values of a MetricRecord, by name."""


@dataclass(frozen=True, eq=False)
class Shared:
    """One clip that the fog shares.

    Attributes
    ----------
    round : when it was captured, from 1.
    device, clip : names of the device that captured it, and of the clip.
    camera_bytes : bytes of the camera's own files.
    upload : bytes that the device uploaded.
    payload : bytes that the other devices receive.
    encode_seconds : time that encoding took.
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
    """Metrics that one device reported of its training or its evaluation in a round."""

    round: int
    device: str
    metrics: Mapping[str, Any]


@dataclass
class Holding:
    """The shared clips that one device has for certain, as bit masks: bit ``i`` stands for clip number ``i``.

    Attributes
    ----------
    covered : those that it needs no more, because it has them or an update that was trained on them.
    payloads : those of them that came to it as payloads.
    equipped : it has a model of its own, which began with the start model.
    resent : everything was sent again because it holds something else than the fog believed.
    """

    covered: int = 0
    payloads: int = 0
    equipped: bool = False
    resent: bool = False


@dataclass(frozen=True)
class Sent:
    """Clips that were sent to a device and are not confirmed yet; the fields are those of :class:`Holding`."""

    covered: int
    payloads: int


class FogMemory:
    """The state of a fog node after each round.

    Attributes
    ----------
    rounds : number of whole rounds.
    shared, failures, trained, evaluated : every one so far.
    devices : what each has, by the names of all devices that have ever answered.
    results : metrics of every round by stage, as in Flower's ``Result``: ``train``, ``evaluate``, ``server``.
    stored : what each exchange's messages took at the SuperLink.
    class_names : classes of the first captures that were shared; empty until there are some.
    """

    def __init__(self) -> None:
        self.rounds = 0
        self.shared: list[Shared] = []
        self.failures: list[FailureRecord] = []
        self.trained: list[Measured] = []
        self.evaluated: list[Measured] = []
        self.devices: dict[str, Holding] = {}
        self.results: dict[int, dict[str, Metrics]] = {}
        self.stored: list[StoredRecord] = []
        self.class_names: tuple[str, ...] = ()
        self._sent: dict[str, Sent] = {}
        self._saved = (0, 0, 0, 0, 0)  # lengths of the lists when they were last written down

    def fail(self, server_round: int, device: str, kind: str, reason: str) -> None:
        """Add a failure and log it."""
        self.failures.append(FailureRecord(server_round, device, kind, reason))
        log.warning("round %d: %s (%s): %s", server_round, device, kind, reason)

    def note_result(self, server_round: int, stage: str, metrics: MetricRecord | None) -> None:
        """Remember the metrics of a round's stage, if there are any."""
        if metrics is not None:
            self.results.setdefault(server_round, {})[stage] = dict(metrics)

    def result(self, server_round: int, stage: str) -> MetricRecord | None:
        """The metrics that :meth:`note_result` was given."""
        found = self.results.get(server_round, {}).get(stage)
        return None if found is None else MetricRecord(found)

    def greet(self, device: str) -> Holding:
        """What a device has; a device that has never answered has nothing."""
        return self.devices.setdefault(device, Holding())

    def missing(self, device: str) -> list[int]:
        """Numbers of the clips of other devices that it needs."""
        every = (1 << len(self.shared)) - 1
        return [i for i in _numbers(every & ~self.greet(device).covered) if self.shared[i].device != device]

    def note_sent(self, device: str, covered: Iterable[int], payloads: Iterable[int] = ()) -> None:
        """Remember which clips are on their way to a device, and which of them as payloads."""
        self._sent[device] = Sent(_mask(covered), _mask(payloads))

    def confirm(self, device: str) -> None:
        """Count what a device was sent last as received: it has answered, so it has a model too."""
        holding = self.greet(device)
        holding.equipped = True
        if (sent := self._sent.pop(device, None)) is not None:
            holding.covered |= sent.covered
            holding.payloads |= sent.payloads

    def reconcile(self, device: str, holds: str | None) -> bool:
        """Correct what a device is believed to have by what it says itself; False if it had a model and lost all.

        If it holds what it was sent last, only its answer was lost. If it holds anything else than believed (the fog's
        memory or the device's is of another time), it gets all payloads again, once: payloads that it cannot read
        never count as held. What it was sent last and has not confirmed by now, no later answer confirms.
        """
        holding, sent = self.greet(device), self._sent.get(device)
        if sent is not None and sent.payloads and holds == self._digest(holding.payloads | sent.payloads):
            self.confirm(device)
            return True
        self._sent.pop(device, None)
        if holds is None:
            return True
        if not holds:
            lost = holding.equipped
            self._forget(holding)
            holding.equipped = False
            return not lost
        if holds == self._digest(holding.payloads):
            holding.resent = False
        elif not holding.resent:
            self._forget(holding)
            holding.resent = True
        return True

    def state(self) -> dict[str, Any]:
        """JSON values: what is new in the lists since the last call, all results, and what each device has."""
        a, b, c, d, e = self._saved
        self._saved = self._lengths()
        return {
            "stored": to_json(self.stored[e:]),
            "class_names": list(self.class_names),
            "shared": [_item(item) for item in self.shared[a:]],
            "failures": to_json(self.failures[b:]),
            "trained": [_measured(item) for item in self.trained[c:]],
            "evaluated": [_measured(item) for item in self.evaluated[d:]],
            "results": {str(number): stages for number, stages in self.results.items()},
            "devices": {
                name: {
                    "covered": _ranges(_numbers(holding.covered)),
                    "payloads": _ranges(_numbers(holding.payloads)),
                    "equipped": holding.equipped,
                    "resent": holding.resent,
                }
                for name, holding in self.devices.items()
            },
        }

    def restore(self, states: Iterable[Mapping[str, Any]], keep: Keep) -> None:
        """Restore from the states after round 0 and every whole round, in order; DataError if one is no such state."""
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
                self.stored += [from_json(StoredRecord, item) for item in state["stored"]]
                self.class_names = tuple(state["class_names"])
                self.results = {int(number): dict(stages) for number, stages in state["results"].items()}
                self.devices = {
                    name: Holding(
                        _mask_of(item["covered"]), _mask_of(item["payloads"]), item["equipped"], item["resent"]
                    )
                    for name, item in state["devices"].items()
                }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"the state kept of round {self.rounds} is not a fog node's: {error}") from error
        self._saved = self._lengths()

    def _lengths(self) -> tuple[int, int, int, int, int]:
        return len(self.shared), len(self.failures), len(self.trained), len(self.evaluated), len(self.stored)

    def _digest(self, payloads: int) -> str:
        return holds_digest({self.shared[i].payload.name for i in _numbers(payloads)})

    @staticmethod
    def _forget(holding: Holding) -> None:
        holding.covered &= ~holding.payloads
        holding.payloads = 0


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


def _mask(numbers: Iterable[int]) -> int:
    """A number whose bits ``numbers`` are set."""
    if isinstance(numbers, range) and numbers.step == 1:
        return ((1 << len(numbers)) - 1) << numbers.start if numbers else 0
    flags = bytearray()
    for number in numbers:
        if (place := number >> 3) >= len(flags):
            flags.extend(bytes(place + 1 - len(flags)))
        flags[place] |= 1 << (number & 7)
    return int.from_bytes(flags, "little")


def _numbers(mask: int) -> list[int]:
    """The bits that are set in ``mask``, ascending."""
    flags = mask.to_bytes((mask.bit_length() + 7) // 8, "little")
    return [8 * place + bit for place, byte in enumerate(flags) if byte for bit in range(8) if byte >> bit & 1]


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as [first, last] of every unbroken stretch."""
    if not numbers:
        return []
    breaks = [i for i, (a, b) in enumerate(pairwise(numbers), start=1) if b != a + 1]
    return [[numbers[a], numbers[b - 1]] for a, b in pairwise([0, *breaks, len(numbers)])]


def _mask_of(ranges: Iterable[Iterable[int]]) -> int:
    """The mask of what :func:`_ranges` gave."""
    mask = 0
    for first, last in ranges:
        mask |= _mask(range(first, last + 1))
    return mask
