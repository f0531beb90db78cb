"""Matching replies to the messages that were sent: answers, and the reasons why others are missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from typing import Literal

from flwr.app import Message, Metadata, RecordDict
from flwr.common.constant import ErrorCode

from rinr_flower.messages.identity import ForgedError

Kind = Literal["error", "timeout", "malformed", "forged"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_TRACED = re.compile(r"Traceback|\s+File ")
_MAX_REASON = 300
_MEANING = {
    ErrorCode.NODE_UNAVAILABLE: "the device's node is gone: it sends no heartbeat",
    ErrorCode.CLIENT_APP_CRASHED: "the process that did the device's work has died",
    ErrorCode.MESSAGE_UNAVAILABLE: "the message outlived its time to live",
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE: "the answer outlived its time to live",
}
_EXPIRED = (ErrorCode.MESSAGE_UNAVAILABLE, ErrorCode.REPLY_MESSAGE_UNAVAILABLE)


@dataclass(frozen=True)
class Asked:
    """A question that was sent, without its content.

    Attributes
    ----------
    metadata : of the message; Flower enters the message's id when it is sent.
    signature : the content's record of that name alone; empty where nothing is signed.
    """

    metadata: Metadata
    signature: RecordDict

    @property
    def node(self) -> int:
        return int(self.metadata.dst_node_id)


@dataclass(frozen=True)
class Lost:
    """One message without a usable answer: the node asked, the kind of failure, and why."""

    node: int
    kind: Kind
    reason: str


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer as it came, its sender's name if a signature proves it, and its content without the signature."""

    node: int
    message: Message
    sender: str | None
    content: RecordDict


@dataclass(frozen=True, eq=False)
class Refused:
    """A message of a device that is not used: an error, a forgery, a second answer, an answer to another message."""

    message: Message


Opened = tuple[str | None, RecordDict]
"""Sender's name if a signature proves it, and content."""


def unsigned(question: Asked, reply: Message) -> Opened:
    """Accept an answer as it is, where no keys are configured."""
    return None, reply.content


def match_replies(
    asked: Sequence[Asked], replies: Iterable[Message], open_: Callable[[Asked, Message], Opened] = unsigned
) -> Iterator[Answer | Lost | Refused]:
    """Answers, and one :class:`Lost` for every question in ``asked`` that has none, as the replies come in.

    An answer belongs to the message whose id it carries. Answers to other messages (of an earlier round) and second
    answers are refused; a forged answer is a loss, but does not stand in the way of the node's own. Flower reports a
    node that vanished and a message that outlived its time to live as error replies of its own, and a node that
    restarted as no reply at all.

    Parameters
    ----------
    asked : may grow until the first reply.
    open_ : called with question and answer; raises ForgedError if that answer is not to be believed.
    """
    waiting: dict[str, Asked] = {}
    forged: set[int] = set()
    done: set[int] = set()
    for reply in replies:
        if not waiting and not done:
            waiting = {question.metadata.message_id: question for question in asked}
        question = waiting.get(reply.metadata.reply_to_message_id)
        if question is None:
            yield Refused(reply)
            continue
        node, source = question.node, reply.metadata.src_node_id
        if reply.has_error():
            code, said = reply.error.code, shorten(reply.error.reason or "")
            meaning = _MEANING.get(code)
            reason = said if meaning is None else f"{meaning} ({said})"
            yield Lost(node, "timeout" if code in _EXPIRED else "error", reason)
            if source == node:
                yield Refused(reply)
        else:
            try:
                if source != node:
                    raise ForgedError(f"the answer came from node {source}, which was not asked")
                sender, content = open_(question, reply)
            except ForgedError as error:
                yield Lost(node, "forged", str(error))
                yield Refused(reply)
                forged.add(node)
                continue
            yield Answer(node, reply, sender, content)
        done.add(node)
        del waiting[question.metadata.message_id]
    for question in asked:
        if question.node not in done | forged:
            yield Lost(question.node, "timeout", "no answer within the time limit")


def shorten(reason: str) -> str:
    """One line without terminal colours: of a traceback the exception alone, at most 300 characters."""
    text = _ANSI.sub("", reason).rpartition("Exception ClientAppException occurred. Message: ")[2]
    lines = [line for line in text.strip().removesuffix("'>").splitlines() if line.strip()]
    traced = max((i for i, line in enumerate(lines) if _TRACED.match(line)), default=None)
    if traced is not None:  # the source line follows, indented
        lines = list(dropwhile(lambda line: line[0].isspace(), lines[traced + 1 :])) or lines[-1:]
    return " ".join(" ".join(lines).split())[:_MAX_REASON] or "no reason given"
