"""A simulation of recorded messages on a link: packets that get lost, and senders that take turns on air."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rinr_flower.bandwidth.ledger import Entry
from rinr_flower.bandwidth.link import LinkModel, Transmission

MAX_BURSTS = 20_000  # turns on air that one phase is cut into at most


@dataclass(frozen=True)
class Simulated:
    """One draw.

    Attributes
    ----------
    seconds : time of each (round, kind), in order of appearance; they follow one another.
    bytes_on_air : packet headers and retransmissions included.
    resent_bytes : the part of it that was sent again.
    joules : energy by node.
    """

    seconds: dict[tuple[int, str], float]
    bytes_on_air: float
    resent_bytes: float
    joules: dict[str, float]

    @property
    def total_seconds(self) -> float:
        return math.fsum(self.seconds.values())


def simulate(entries: Iterable[Entry], link: LinkModel, *, seed: int) -> Simulated:
    """Carry ``entries`` over ``link`` once, drawing every packet's losses from ``seed``.

    On a shared medium senders take turns in bursts of packets, each waiting out its own duty cycle between its bursts.
    """
    rng = np.random.default_rng(seed)
    seconds: dict[tuple[int, str], float] = {}
    joules: dict[str, float] = defaultdict(float)
    on_air = once = 0.0
    for phase, group in link.transmissions(entries).items():
        sizes = [_draw(t, link, rng) for t in group]
        for t, size in zip(group, sizes, strict=True):
            on_air += size
            once += t.message_bytes + t.packets * link.packet_header_bytes
            joules[t.source] += size * link.joules_per_byte_sent
            for name in t.destinations:
                joules[name] += size * link.joules_per_byte_received
        turns = _shared if link.shared_medium else _parallel
        seconds[phase] = turns(group, sizes, link)
    return Simulated(seconds, on_air, on_air - once, dict(joules))


def _draw(transmission: Transmission, link: LinkModel, rng: np.random.Generator) -> float:
    """Bytes on air of one transmission with this draw's losses."""
    n = transmission.packets
    whole = transmission.message_bytes + n * link.packet_header_bytes
    if link.loss == 0 or n == 0:
        return float(whole)
    receivers = len(transmission.destinations)
    if receivers == 1:
        sent = n + int(rng.negative_binomial(n, 1 - link.loss))
    else:
        sent = sum(int(rng.geometric(1 - link.loss, receivers).max()) for _ in range(n))
    return whole * sent / n


def _shared(group: list[Transmission], sizes: list[float], link: LinkModel) -> float:
    """One half-duplex medium: the sender that has been ready longest goes next; ends when the last one is done.

    A sender is done when the pause after its last burst is over, so that phases do not break its duty cycle either.
    """
    left: dict[str, list[float]] = defaultdict(list)
    for t, size in zip(group, sizes, strict=True):
        left[t.source].append(size / link.rate_between(t.source, t.destinations))
    total = {name: math.fsum(times) for name, times in left.items()}
    burst = max(math.fsum(total.values()) / MAX_BURSTS, link.packet_bytes / link.rate_bytes_per_s)
    ready = [(0.0, name) for name in sorted(total)]
    free = end = 0.0
    while ready:
        when, name = heapq.heappop(ready)
        time = min(burst, total[name])
        total[name] -= time
        free = max(free, when) + time
        rest = free + time * (1 / link.duty_cycle - 1)
        end = max(end, rest)
        if total[name] > 1e-12:
            heapq.heappush(ready, (rest, name))
    return end + len(group) * link.latency_s


def _parallel(group: list[Transmission], sizes: list[float], link: LinkModel) -> float:
    """Links of their own, all at once, within what a node can send and receive."""
    links: dict[tuple[str, str], float] = defaultdict(float)
    nodes: dict[tuple[str, str], float] = defaultdict(float)
    for t, size in zip(group, sizes, strict=True):
        nodes["sends", t.source] += size
        for to in t.destinations:
            links[t.source, to] += size / link.rate_between(t.source, [to])
            nodes["receives", to] += size
    slowest = max(links.values(), default=0.0)
    slowest = max([slowest, *(size / link.node_limit(name) for (_, name), size in nodes.items())])
    return slowest / link.duty_cycle + (link.latency_s if group else 0.0)
