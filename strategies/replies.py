"""Sorting what came back from the devices: answers, and the reasons why others are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from flwr.app import Message
from flwr.common.constant import ErrorCode

Kind = Literal["error", "timeout", "malformed"]

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_MAX_REASON = 300


@dataclass(frozen=True)
class Lost:
    """One message without a usable answer: the node asked, the kind of failure, and why."""

    node: int
    kind: Kind
    reason: str


def sort_replies(asked: Sequence[Message], replies: Iterable[Message]) -> tuple[dict[int, Message], list[Lost]]:
    """Answers by node, and one :class:`Lost` for every message in ``asked`` that has none.

    An answer belongs to the message whose id it carries. Answers to other messages (of an earlier round) and second
    answers are passed over. Flower reports a node that vanished and a message that outlived its time to live as error
    replies of its own, and a node that restarted as no reply at all.
    """
    waiting = {message.metadata.message_id: message.metadata.dst_node_id for message in asked}
    answers: dict[int, Message] = {}
    lost: list[Lost] = []
    for reply in replies:
        node = waiting.pop(reply.metadata.reply_to_message_id, None)
        if node is None:
            continue
        if reply.has_error():
            expired = reply.error.code == ErrorCode.MESSAGE_UNAVAILABLE
            lost.append(Lost(node, "timeout" if expired else "error", shorten(reply.error.reason or "no reason given")))
        elif reply.metadata.src_node_id != node:
            lost.append(Lost(node, "malformed", f"the answer came from node {reply.metadata.src_node_id}"))
        else:
            answers[node] = reply
    lost += [Lost(node, "timeout", "no answer within the time limit") for node in waiting.values()]
    return answers, lost


def shorten(reason: str) -> str:
    """One line without terminal colours: of a traceback its last line, at most 300 characters."""
    lines = [line.strip(" '\">") for line in _ANSI.sub("", reason).splitlines()]
    last = next((line for line in reversed(lines) if line), "no reason given")
    return last.removeprefix("Exception ClientAppException occurred. Message: ")[:_MAX_REASON]
