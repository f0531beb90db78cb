"""Sorting what came back from the devices: answers, and the reasons why others are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode

from rinr_flower.messages.identity import ForgedError

Kind = Literal["error", "timeout", "malformed", "forged"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MAX_REASON = 300
_MEANING = {
    ErrorCode.NODE_UNAVAILABLE: "the device's node is gone: it sends no heartbeat",
    ErrorCode.CLIENT_APP_CRASHED: "the process that did the device's work has died",
    ErrorCode.MESSAGE_UNAVAILABLE: "the message outlived its time to live",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "the answer outlived its time to live",
}
_EXPIRED = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)


@dataclass(frozen=True)
class Lost:
    """One message without a usable answer: the node asked, the kind of failure, and why."""

    node: int
    kind: Kind
    reason: str


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer as it came, its sender's name if a signature proves it, and its content without the signature."""

    message: Message
    sender: str | None
    content: RecordDict


Opened = tuple[str | None, RecordDict]
"""Sender's name if a signature proves it, and content."""


@dataclass(frozen=True, eq=False)
class Sorted:
    """What came back from one exchange.

    Attributes
    ----------
    answers : by node.
    lost : what is missing or was forged; a node can have a forged answer and its own besides.
    refused : everything else that a device sent: errors, forgeries, second answers, answers to other messages.
    """

    answers: dict[int, Answer]
    lost: list[Lost]
    refused: list[Message]


def unsigned(question: Message, reply: Message) -> Opened:
    """Where no keys are configured, an answer is taken as it is."""
    return None, reply.content


def sort_replies(
    asked: Sequence[Message], replies: Iterable[Message], open_: Callable[[Message, Message], Opened] = unsigned
) -> Sorted:
    """Answers by node, and one :class:`Lost` for every message in ``asked`` that has none.

    An answer belongs to the message whose id it carries. Answers to other messages (of an earlier round) and second
    answers are passed over; a forged answer does not stand in the way of the node's own. Flower reports a node that
    vanished and a message that outlived its time to live as error replies of its own, and a node that restarted as no
    reply at all.

    Parameters
    ----------
    open_ : called with question and answer; raises ForgedError if that answer is not to be believed.
    """
    waiting = {message.metadata.message_id: message for message in asked}
    answers: dict[int, Answer] = {}
    lost: list[Lost] = []
    refused: list[Message] = []
    forged: set[int] = set()
    for reply in replies:
        question = waiting.get(reply.metadata.reply_to_message_id)
        if question is None:
            refused.append(reply)
            continue
        node, source = question.metadata.dst_node_id, reply.metadata.src_node_id
        if reply.has_error():
            code, said = reply.error.code, shorten(reply.error.reason or "")
            meaning = _MEANING.get(code)
            reason = said if meaning is None else f"{meaning} ({said})"
            lost.append(Lost(node, "timeout" if code in _EXPIRED else "error", reason))
            del waiting[question.metadata.message_id]
            if source == node:
                refused.append(reply)
            continue
        try:
            if source != node:
                raise ForgedError(f"the answer came from node {source}, which was not asked")
            sender, content = open_(question, reply)
        except ForgedError as error:
            lost.append(Lost(node, "forged", str(error)))
            refused.append(reply)
            forged.add(node)
            continue
        answers[node] = Answer(reply, sender, content)
        del waiting[question.metadata.message_id]
    silent = [message.metadata.dst_node_id for message in waiting.values()]
    lost += [Lost(node, "timeout", "no answer within the time limit") for node in silent if node not in forged]
    return Sorted(answers, lost, refused)


def shorten(reason: str) -> str:
    """One line without terminal colours: of a traceback its last line, at most 300 characters."""
    lines = [line.strip(" '\">") for line in _ANSI.sub("", reason).splitlines()]
    last = next((line for line in reversed(lines) if line), "no reason given")
    return last.removeprefix("Exception ClientAppException occurred. Message: ")[:_MAX_REASON]
