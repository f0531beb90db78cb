"""Grids around another grid: one that streams messages, and one that shows a strategy some of the nodes only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType
from flwr.serverapp import Grid

from rinr_flower.errors import RinrError
from rinr_flower.messages.protocol import CONFIG, SERVER_ROUND

AT_ONCE = 32
"""Messages that are composed before they are handed over, and replies that are taken at once."""
POLL_S = 0.2
_WORK = {
    MessageType.QUERY: "devices upload",
    MessageType.TRAIN: "devices train",
    MessageType.EVALUATE: "devices evaluate",
}


class GridAround(Grid):
    """Another grid as it is. The base of grids that change one thing."""

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def get_node_ids(self) -> Iterable[int]:
        return self.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self.grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.grid.pull_messages(message_ids)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.grid.send_and_receive(messages, timeout=timeout)

    def set_run(self, run: Any) -> None:
        self.grid.set_run(run)

    @property
    def run(self) -> Any:
        return self.grid.run

    def create_message(self, *args: Any, **options: Any) -> Message:
        return self.grid.create_message(*args, **options)


class StreamedGrid(GridAround):
    """Sends messages as they are composed and yields replies as they come, so that few are in memory at a time.

    Parameters
    ----------
    grid : carries the messages.
    progress : called with the exchange and the share of messages that are answered, several times a second; an
        exception that it raises ends the exchange.
    """

    def __init__(self, grid: Grid, progress: Callable[[str, float], None] | None = None) -> None:
        super().__init__(grid)
        self.progress = progress

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield replies. ``messages`` are read, and sent, when the first reply is asked for."""
        waiting: deque[str] = deque()
        what, iterator, sent = "", iter(messages), 0
        while part := list(islice(iterator, AT_ONCE)):
            what = _described(part[0])
            sent += len(part)
            waiting.extend(number for number in self.grid.push_messages(part) if number)
            del part
        end = None if timeout is None else time.monotonic() + timeout
        last = False  # replies that came while the caller was busy are taken, also after the time is up
        while waiting and not last:
            last = end is not None and time.monotonic() >= end
            if self.progress is not None:
                self.progress(what, 1 - len(waiting) / sent)
            idle, pause = True, time.monotonic() + POLL_S
            for _ in range(0, len(waiting), AT_ONCE):
                numbers = [waiting.popleft() for _ in range(min(AT_ONCE, len(waiting)))]
                answered = set()
                for reply in self.grid.pull_messages(numbers):
                    idle = False
                    answered.add(reply.metadata.reply_to_message_id)
                    yield reply
                waiting.extend(number for number in numbers if number not in answered)
            if waiting and idle:  # some grids have waited for a reply already
                time.sleep(max(0.0, min(pause, pause if end is None else end) - time.monotonic()))
        if self.progress is not None and sent:
            self.progress(what, 1.0)


def _described(message: Message) -> str:
    """The exchange that a message belongs to, for progress."""
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    return f"round {config.get(SERVER_ROUND, '?')!s}: {_WORK.get(message.metadata.message_type, 'devices work')}"


class TooFewNodesError(RinrError):
    """A strategy waits for more nodes than attend the round."""


class AttendingGrid(GridAround):
    """Shows a strategy the nodes that attend a round, and only those, in the order in which they are given.

    It samples from them and waits for no others.

    Flower's strategies ask again and again for the nodes until there are enough. Here that raises TooFewNodesError,
    because no more will come in this round.
    """

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        super().__init__(grid)
        self._nodes = list(nodes)
        self._asked = 0

    def get_node_ids(self) -> Iterable[int]:
        self._asked += 1
        if self._asked > 5:  # Flower's strategies need two calls if there are enough
            raise TooFewNodesError(f"{len(self._nodes)} devices attend; the inner strategy waits for more")
        return list(self._nodes)
