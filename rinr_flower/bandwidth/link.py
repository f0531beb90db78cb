"""The link model: ledger entries to seconds and joules."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rinr_flower.bandwidth.ledger import Entry
from rinr_flower.bandwidth.profiles import PROFILES
from rinr_flower.errors import ConfigError


@dataclass(frozen=True)
class Transmission:
    """One message on air: who sends it, who hears it, its bytes, and the packets it is cut into."""

    source: str
    destinations: tuple[str, ...]
    message_bytes: int
    packets: int


@dataclass(frozen=True)
class LinkModel:
    """Radio links between devices and fog.

    Within a round, kinds follow one another (all uploads, then all payloads, ...); entries of one round, source,
    destination and kind travel as one message. Times and energy are expectations over losses.

    Attributes
    ----------
    rate_bytes_per_s : what one link carries; 2 MB/s is the radio that Residual-INR assumes.
    latency_s : charged once a message; messages on a shared medium wait for each other, on links of their own they
        do not.
    broadcast : copies of the same content from one source are sent once and heard by all.
    shared_medium : True: one half-duplex medium, one sender at a time. False: every link has the whole rate for itself,
        all at once, within ``node_rate_bytes_per_s``.
    node_rate_bytes_per_s : with links of their own, what one node can send, and receive, over all of its links
        together; None: no such limit.
    node_rates : rates in bytes/s of single nodes by name, in place of ``node_rate_bytes_per_s``; a link is as fast as
        the slower of its ends.
    loss : probability that a packet is lost; it is sent again until every receiver has it.
    packet_bytes, packet_header_bytes : payload of a packet, and what every packet adds to it.
    duty_cycle : the fraction of time in which one sender may be on air.
    joules_per_byte_sent, joules_per_byte_received : energy of the radios, retransmissions included.
    """

    rate_bytes_per_s: float = 2e6
    latency_s: float = 0.0
    broadcast: bool = False
    shared_medium: bool = True
    node_rate_bytes_per_s: float | None = None
    node_rates: dict[str, float] = field(default_factory=dict)
    loss: float = 0.0
    packet_bytes: int = 1500
    packet_header_bytes: int = 0
    duty_cycle: float = 1.0
    joules_per_byte_sent: float = 0.0
    joules_per_byte_received: float = 0.0

    @classmethod
    def parse_options(cls, options: Mapping[str, Any]) -> dict[str, Any]:
        """Options with ``profile``, a name of :data:`PROFILES`, replaced by its fields; the others override them."""
        plain = dict(options)
        name = plain.pop("profile", None)
        if name is None:
            return plain
        if name not in PROFILES:
            raise ConfigError(f"unknown link profile {name!r}; known: {', '.join(PROFILES)}")
        return {**PROFILES[name].options, **plain}

    @classmethod
    def of_profile(cls, name: str, **options: Any) -> LinkModel:
        """The link model of a profile, single fields overridden."""
        return cls(**cls.parse_options({"profile": name, **options}))

    def __post_init__(self) -> None:
        if not isinstance(self.node_rates, Mapping):
            raise ConfigError(f"link node_rates {self.node_rates!r} is not a mapping of node names to bytes/s")
        rates = {"rate_bytes_per_s": self.rate_bytes_per_s}
        if self.node_rate_bytes_per_s is not None:
            rates["node_rate_bytes_per_s"] = self.node_rate_bytes_per_s
        for name, rate in {**rates, **{f"node_rates[{k!r}]": v for k, v in self.node_rates.items()}}.items():
            check_number(f"link {name}", rate, lambda v: 0 < v < math.inf, "a number above 0")
        for name in ("latency_s", "joules_per_byte_sent", "joules_per_byte_received", "packet_header_bytes"):
            check_number(f"link {name}", getattr(self, name), lambda v: v >= 0, "a number from 0")
        check_number("link loss", self.loss, lambda v: 0 <= v < 1, "in 0 <= loss < 1")
        check_number("link duty_cycle", self.duty_cycle, lambda v: 0 < v <= 1, "in 0 < duty_cycle <= 1")
        check_number("link packet_bytes", self.packet_bytes, lambda v: v >= 1, "a number from 1")

    def rate_between(self, source: str, destinations: Iterable[str]) -> float:
        """Bytes/s from ``source`` to all of ``destinations`` at once: the slowest of them decides."""
        ends = (source, *destinations)
        return min([self.rate_bytes_per_s, *(self.node_rates[n] for n in ends if n in self.node_rates)])

    def times_as_fast(self, factor: float) -> LinkModel:
        """The same link with all its rates multiplied."""
        node = self.node_rate_bytes_per_s
        return replace(
            self,
            rate_bytes_per_s=self.rate_bytes_per_s * factor,
            node_rate_bytes_per_s=None if node is None else node * factor,
            node_rates={name: rate * factor for name, rate in self.node_rates.items()},
        )

    def node_limit(self, name: str) -> float:
        """Bytes/s that a node can send, and receive, over all of its links; infinite without a limit."""
        limit = self.node_rates.get(name, self.node_rate_bytes_per_s)
        return math.inf if limit is None else limit

    def bytes_on_air(self, transmission: Transmission) -> float:
        """Expected bytes on air, packet headers and retransmissions included."""
        whole = transmission.message_bytes + transmission.packets * self.packet_header_bytes
        return whole * expected_tries(self.loss, len(transmission.destinations))

    def seconds(self, entries: Iterable[Entry]) -> float:
        """Time to carry ``entries``, all rounds and kinds one after the other."""
        return math.fsum(self.seconds_by_phase(entries).values())

    def seconds_by_phase(self, entries: Iterable[Entry]) -> dict[tuple[int, str], float]:
        """Time of each (round, kind), in order of appearance."""
        return {phase: self._phase_seconds(group) for phase, group in self.transmissions(entries).items()}

    def joules(self, entries: Iterable[Entry]) -> float:
        """Energy that all radios together spend on ``entries``."""
        total = 0.0
        for group in self.transmissions(entries).values():
            for t in group:
                per_byte = self.joules_per_byte_sent + len(t.destinations) * self.joules_per_byte_received
                total += per_byte * self.bytes_on_air(t)
        return total

    def transmissions(self, entries: Iterable[Entry]) -> dict[tuple[int, str], list[Transmission]]:
        """Group entries into the messages on air of each (round, kind)."""
        sizes: dict[tuple[int, str], dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
        heard: dict[tuple[int, str, str, str], dict[str, int]] = defaultdict(dict)
        for e in entries:
            group = sizes[e.round, e.kind]
            if self.broadcast and e.content:
                heard[e.round, e.kind, e.source, e.content][e.destination] = e.message_bytes
            else:
                group[e.source, e.destination] += e.message_bytes
        phases = {
            phase: [self._transmission(source, (to,), size) for (source, to), size in group.items()]
            for phase, group in sizes.items()
        }
        together: dict[tuple[int, str, str, tuple[str, ...]], int] = defaultdict(int)
        for (number, kind, source, _), copies in heard.items():
            together[number, kind, source, tuple(sorted(copies))] += max(copies.values())
        for (number, kind, source, to), size in together.items():
            phases[number, kind].append(self._transmission(source, to, size))
        return phases

    def _transmission(self, source: str, destinations: tuple[str, ...], size: int) -> Transmission:
        return Transmission(source, destinations, size, -(-size // self.packet_bytes))

    def _phase_seconds(self, group: list[Transmission]) -> float:
        air = [(t, self.bytes_on_air(t)) for t in group]
        by_sender: dict[str, float] = defaultdict(float)
        if self.shared_medium:
            for t, size in air:
                by_sender[t.source] += size / self.rate_between(t.source, t.destinations)
            on_air = math.fsum(by_sender.values())
            return max([on_air, *(s / self.duty_cycle for s in by_sender.values())]) + len(group) * self.latency_s
        links: dict[tuple[str, str], float] = defaultdict(float)
        received: dict[str, float] = defaultdict(float)
        for t, size in air:
            by_sender[t.source] += size
            for to in t.destinations:
                links[t.source, to] += size / self.rate_between(t.source, [to])
                received[to] += size
        busy = [size / self.node_limit(name) for sizes in (by_sender, received) for name, size in sizes.items()]
        slowest = max([*links.values(), *busy], default=0.0) / self.duty_cycle
        return slowest + (self.latency_s if group else 0.0)


def check_number(name: str, value: object, good: Callable[[float], bool], wanted: str) -> None:
    """ConfigError unless ``value`` is a number and ``good``."""
    if not (isinstance(value, int | float | np.integer) and good(float(value))):
        raise ConfigError(f"{name} {value!r} is not {wanted}")


def expected_tries(loss: float, receivers: int) -> float:
    """Times that a packet is sent until ``receivers`` independent receivers have it: ``E[max of r geometrics]``.

    ``1 / (1 - loss)`` for one receiver; in general ``sum over k >= 0 of 1 - (1 - loss^k)^r``.
    """
    if loss == 0 or receivers == 0:
        return 1.0
    total, still_lost = 1.0, loss
    while still_lost > 1e-13:
        total -= math.expm1(receivers * math.log1p(-still_lost))
        still_lost *= loss
    return total
