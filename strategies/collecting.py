"""Reading what devices upload: names, captures, and what they say they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import read_captures
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.keeping import Captured, Keep
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

    captures: list[Captured]
    nodes: set[int]
    lost: list[Lost]


def read_answers(
    answers: Iterable[Answer | Lost],
    server_round: int,
    exchange: Exchange,
    keep: Keep,
    limits: CaptureLimits,
    greet: Callable[[int, str, str | None], None],
) -> Collected:
    """Read, check, meter and keep the answers to a QUERY, one by one as they come.

    ``greet`` is called with node, device name and what the device says it holds.
    """
    found, nodes, lost = list[Captured](), set[int](), list[Lost]()
    for answer in answers:
        if isinstance(answer, Lost):
            lost.append(answer)
            continue
        try:
            name, captures, holds = read_captures(answer.content)
            limits.check(captures)
            exchange.claim(answer.node, name, answer.sender, nodes)
        except DataError as error:
            lost.append(Lost(answer.node, "malformed", str(error)))
            exchange.refuse(answer.message)
            continue
        nodes.add(answer.node)
        exchange.meter.answered(server_round, name, answer.message, [capture.clip for capture in captures])
        greet(answer.node, name, holds)
        found += [Captured.of(capture, keep) for capture in captures]
    return Collected(sorted(found, key=lambda capture: (capture.device, capture.clip)), nodes, lost)
