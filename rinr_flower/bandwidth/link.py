"""The link model: ledger entries to seconds and joules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from rinr_flower.bandwidth.ledger import Entry
from rinr_flower.errors import ConfigError


@dataclass(frozen=True)
class LinkModel:
    """Radio links between devices and fog.

    Within a round, kinds follow one another (all uploads, then all payloads, ...); entries of one round, source,
    destination and kind travel as one message.

    Attributes
    ----------
    rate_bytes_per_s : what one link carries; 2 MB/s is the radio that Residual-INR assumes.
    latency_s : charged once a message; messages on a shared medium wait for each other, on links of their own they
        do not.
    broadcast : copies of the same content from one source are sent once and heard by all.
    shared_medium : True: one half-duplex medium, one sender at a time. False: every link has the whole rate for itself,
        all at once, within ``node_rate_bytes_per_s``.
    node_rate_bytes_per_s : what one node can send, and receive, over all of its links together; None: no such limit.
    loss : probability that a packet is lost; it is sent again until it arrives, on average 1 / (1 - loss) times.
    packet_bytes, packet_header_bytes : payload of a packet, and what every packet adds to it.
    duty_cycle : the fraction of time in which a sender may be on air (1 per cent in parts of the 868 MHz band).
    joules_per_byte_sent, joules_per_byte_received : energy of the radios, retransmissions included.
    """

    rate_bytes_per_s: float = 2e6
    latency_s: float = 0.0
    broadcast: bool = False
    shared_medium: bool = True
    node_rate_bytes_per_s: float | None = None
    loss: float = 0.0
    packet_bytes: int = 1500
    packet_header_bytes: int = 0
    duty_cycle: float = 1.0
    joules_per_byte_sent: float = 0.0
    joules_per_byte_received: float = 0.0

    def __post_init__(self) -> None:
        if not self.rate_bytes_per_s > 0:
            raise ConfigError(f"link rate_bytes_per_s {self.rate_bytes_per_s} is not above 0")
        if self.node_rate_bytes_per_s is not None and not self.node_rate_bytes_per_s > 0:
            raise ConfigError(f"link node_rate_bytes_per_s {self.node_rate_bytes_per_s} is not above 0")
        if not self.latency_s >= 0:
            raise ConfigError(f"link latency_s {self.latency_s} is below 0")
        if not 0 <= self.loss < 1:
            raise ConfigError(f"link loss {self.loss} is not in 0 <= loss < 1")
        if not 0 < self.duty_cycle <= 1:
            raise ConfigError(f"link duty_cycle {self.duty_cycle} is not in 0 < duty_cycle <= 1")
        if self.packet_bytes < 1 or self.packet_header_bytes < 0:
            raise ConfigError(f"link packet_bytes {self.packet_bytes} + {self.packet_header_bytes} is not a packet")

    def wire_bytes(self, message_bytes: float) -> float:
        """Expected bytes on air for one message: packet headers and retransmissions included."""
        packets = -(-message_bytes // self.packet_bytes)
        return (message_bytes + packets * self.packet_header_bytes) / (1 - self.loss)

    def seconds(self, entries: Iterable[Entry]) -> float:
        """Time to carry ``entries``, all rounds and kinds one after the other."""
        return sum(self.seconds_by_phase(entries).values())

    def seconds_by_phase(self, entries: Iterable[Entry]) -> dict[tuple[int, str], float]:
        """Time of each (round, kind), in order of appearance."""
        phases: dict[tuple[int, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            phases[entry.round, entry.kind].append(entry)
        return {phase: self._phase_seconds(group) for phase, group in phases.items()}

    def _phase_seconds(self, entries: list[Entry]) -> float:
        sent, received, links, on_air, messages = self._traffic(entries)
        rate = self.rate_bytes_per_s * self.duty_cycle
        if self.shared_medium:
            return on_air / rate + messages * self.latency_s
        slowest = max(links.values(), default=0.0) / rate
        if self.node_rate_bytes_per_s is not None:
            busiest = max([*sent.values(), *received.values()], default=0.0)
            slowest = max(slowest, busiest / (self.node_rate_bytes_per_s * self.duty_cycle))
        return slowest + (self.latency_s if messages else 0.0)

    def joules(self, entries: Iterable[Entry]) -> float:
        """Energy that all radios together spend on ``entries``."""
        phases: dict[tuple[int, str], list[Entry]] = defaultdict(list)
        for entry in entries:
            phases[entry.round, entry.kind].append(entry)
        total = 0.0
        for group in phases.values():
            sent, received, *_ = self._traffic(group)
            total += sum(sent.values()) * self.joules_per_byte_sent
            total += sum(received.values()) * self.joules_per_byte_received
        return total

    def _traffic(
        self, entries: list[Entry]
    ) -> tuple[dict[str, float], dict[str, float], dict[tuple[str, str], float], float, int]:
        """Wire bytes sent and received per node and per link, bytes on air, and the number of messages."""
        sent: dict[str, float] = defaultdict(float)
        received: dict[str, float] = defaultdict(float)
        links: dict[tuple[str, str], float] = defaultdict(float)
        transmissions: dict[tuple[str, str], None] = {}
        heard: set[tuple[str, str, str]] = set()
        for entry in entries:
            size = self.wire_bytes(entry.message_bytes)
            links[entry.source, entry.destination] += size
            received[entry.destination] += size
            copy = (entry.source, entry.kind, entry.content)
            if self.broadcast and entry.content:
                transmissions[entry.source, ""] = None
                if copy in heard:
                    continue
                heard.add(copy)
            else:
                transmissions[entry.source, entry.destination] = None
            sent[entry.source] += size
        return sent, received, links, sum(sent.values()), len(transmissions)
