"""Reading what devices upload: names, captures, and what they say they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import Capture, read_captures
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.replies import Answer, Lost


@dataclass(frozen=True)
class Collected:
    """The answers to a QUERY.

    Attributes
    ----------
    captures : of sound answers, in order of the devices' and the clips' names.
    nodes : that gave a sound answer.
    lost : everything else.
    """

    captures: list[Capture]
    nodes: set[int]
    lost: list[Lost]


def read_answers(
    answers: Mapping[int, Answer],
    server_round: int,
    exchange: Exchange,
    limits: CaptureLimits,
    greet: Callable[[int, str, str | None], None],
) -> Collected:
    """Read, check and meter the answers to a QUERY.

    Parameters
    ----------
    greet : called with node, device name and what the device says it holds.
    """
    found, nodes, lost = list[Capture](), set[int](), list[Lost]()
    for node, answer in answers.items():
        try:
            name, captures, holds = read_captures(answer.content)
            limits.check(captures)
            exchange.claim(node, name, answer.sender, nodes)
        except DataError as error:
            lost.append(Lost(node, "malformed", str(error)))
            exchange.meter.refused(server_round, exchange.name(node), answer.message)
            continue
        nodes.add(node)
        exchange.meter.answered(server_round, name, answer.message, [(c.clip, c.data) for c in captures])
        greet(node, name, holds)
        found += captures
    return Collected(sorted(found, key=lambda capture: (capture.device, capture.clip)), nodes, lost)
