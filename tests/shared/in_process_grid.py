"""A Flower grid whose apps run in this process, for benchmarks and tests that weigh, lose or alter messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.serverapp import Grid

App = Callable[[Message, Context], Message | None]


class InProcessGrid(Grid):
    """Carries messages to apps and back through their serialised form, and weighs them.

    Attributes
    ----------
    apps : by the number of their node; None for an answer is an answer that is lost.
    bytes : of all messages so far, both ways.
    """

    def __init__(self, apps: Mapping[int, App]) -> None:
        self.apps = dict(apps)
        self.bytes = 0
        self._count = 0
        self._replies: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages at once; those that are lost are answered never."""
        numbers = []
        for message in messages:
            self._count += 1
            message.metadata.__dict__["_message_id"] = f"message {self._count}"
            numbers.append(message.metadata.message_id)
            reply = self.answer(self.carry(message))
            if reply is not None:
                self._replies[numbers[-1]] = self.carry(reply)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def carry(self, message: Message) -> Message:
        """The message as it arrives."""
        sent = message_to_proto(message)
        self.bytes += sent.ByteSize()
        return message_from_proto(sent)

    def answer(self, message: Message) -> Message | None:
        """Return the answer of the message's app."""
        node = message.metadata.dst_node_id
        try:
            return self.apps[node](message, Context(1, node, {}, RecordDict(), {}))
        except Exception as error:  # as Flower's own engines do
            return Message(Error(code=2, reason=f"{type(error).__name__}: {error}"), reply_to=message)

    def set_run(self, run: object) -> None:
        raise NotImplementedError("there is no run outside this process")

    @property
    def run(self) -> Any:
        raise NotImplementedError("there is no run outside this process")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError("make a flwr.app.Message")


def round_of(message: Message) -> int:
    """The number of the round that a message of ours is about."""
    return int(str(message.content.config_records["config"]["server-round"]))
