"""Reading what devices upload: names, captures, and what they say they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from rinr_flower.errors import DataError
from rinr_flower.messages.protocol import Introduction, read_captures
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.keeping import Captured, Keep
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.replies import Answer, Lost


@dataclass
class Collected:
    """The nodes of sound answers to a QUERY, and the answers that were lost.

    Attributes
    ----------
    nodes : that gave a sound answer.
    lost : everything else.
    """

    nodes: set[int] = field(default_factory=set)
    lost: list[Lost] = field(default_factory=list)


def read_answers(
    answers: Iterable[Answer | Lost],
    server_round: int,
    exchange: Exchange,
    keep: Keep,
    limits: CaptureLimits,
    greet: Callable[[int, Introduction], None],
    collected: Collected,
) -> Iterator[Captured]:
    """Read, check, meter and keep the answers to a QUERY, and yield their captures, as they come.

    ``greet`` is called with node and what the device says of itself; the rest goes into ``collected``.
    """
    for answer in answers:
        if isinstance(answer, Lost):
            collected.lost.append(answer)
            continue
        try:
            said, captures = read_captures(answer.content)
            limits.check(captures)
            exchange.claim(answer.node, said.device, answer.sender, collected.nodes)
        except DataError as error:
            collected.lost.append(Lost(answer.node, "malformed", str(error)))
            exchange.refuse(answer.message)
            continue
        collected.nodes.add(answer.node)
        exchange.meter.answered(server_round, said.device, answer.message, [capture.clip for capture in captures])
        greet(answer.node, said)
        yield from [Captured.of(capture, keep) for capture in captures]
