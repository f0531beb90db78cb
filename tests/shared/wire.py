"""A grid for tests: it remembers what was sent, and loses or alters messages on their way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from in_process_grid import App, InProcessGrid, round_of

Handler = Callable[[Message, Context], Message]


class Killed(BaseException):
    """Stands where kill -9 would: nothing after it is carried out."""


class Wire(InProcessGrid):
    """Apps in this process, and what happens to their messages.

    Attributes
    ----------
    sent : every message to an app.
    deaf : (node, message type) that never arrives.
    mute : (node, message type) that arrives, but whose answer is lost.
    die_after : (round, message type) of the messages after whose answers the fog is killed.
    change_asked, change_answered : what becomes of a message that has arrived, and of an answer on its way back.
    """

    def __init__(self, apps: Mapping[int, App]) -> None:
        super().__init__(apps)
        self.sent: list[Message] = []
        self.deaf: set[tuple[int, str]] = set()
        self.mute: set[tuple[int, str]] = set()
        self.die_after: tuple[int, str] | None = None
        self._dies = False
        self.change_asked: Callable[[Message], Message] = lambda message: message
        self.change_answered: Callable[[Message], Message] = lambda reply: reply

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        asked = list(messages)
        self.sent += asked
        self._dies |= self.die_after in {(round_of(m), m.metadata.message_type) for m in asked}
        return super().push_messages(asked)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """All answers, the last one first: a strategy cannot count on their order."""
        if self._dies:
            raise Killed
        return list(super().pull_messages(message_ids))[::-1]

    def answer(self, message: Message) -> Message | None:
        asked = (message.metadata.dst_node_id, message.metadata.message_type)
        if asked in self.deaf:
            return None
        reply = super().answer(self.change_asked(message))
        return None if reply is None or asked in self.mute else self.change_answered(reply)


def app_of(query: Handler, train: Handler, evaluate: Handler) -> ClientApp:
    app = ClientApp()
    app.query()(query)
    app.train()(train)
    app.evaluate()(evaluate)
    return app
