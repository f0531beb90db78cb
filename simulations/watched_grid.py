"""A grid that says how many devices have answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from rinr_flower.messages.protocol import CONFIG, SERVER_ROUND

POLL_S = 0.2
_WORK = {
    MessageType.QUERY: "devices upload",
    MessageType.TRAIN: "devices train",
    MessageType.EVALUATE: "devices evaluate",
}


class WatchedGrid(Grid):
    """Another grid, with progress while it waits for answers.

    Parameters
    ----------
    grid : carries the messages.
    progress : called with the exchange and the share of answers that have come in, several times a second; what it
        raises ends the waiting.
    """

    def __init__(self, grid: Grid, progress: Callable[[str, float], None]) -> None:
        self._grid = grid
        self._progress = progress

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """As Flower's, answer by answer."""
        asked = list(messages)
        what = _describe(asked[0]) if asked else ""
        waiting = set(self._grid.push_messages(asked))
        end = None if timeout is None else time.monotonic() + timeout
        replies: list[Message] = []
        while waiting and (end is None or time.monotonic() < end):
            self._progress(what, 1 - len(waiting) / len(asked))
            pause = time.monotonic() + POLL_S
            arrived = list(self._grid.pull_messages(waiting))
            replies += arrived
            waiting -= {reply.metadata.reply_to_message_id for reply in arrived}
            if waiting and not arrived:
                time.sleep(max(0.0, pause - time.monotonic()))  # some grids have waited already
        if asked:
            self._progress(what, 1.0)
        return replies

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)

    def get_node_ids(self) -> Iterable[int]:
        return self._grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)


def _describe(message: Message) -> str:
    config = message.content.config_records.get(CONFIG, ConfigRecord())
    return f"round {config.get(SERVER_ROUND, '?')!s}: {_WORK.get(message.metadata.message_type, 'devices work')}"
