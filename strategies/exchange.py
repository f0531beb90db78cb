"""Questions of the fog and answers of its devices: every message leaves and comes in here."""

from __future__ import annotations

from collections.abc import Container, Iterable

from flwr.app import ConfigRecord, Message, RecordDict

from rinr_flower.errors import DataError
from rinr_flower.messages.identity import FogIdentity, node_name
from rinr_flower.messages.protocol import CONFIG, JOB, SERVER_ROUND
from rinr_flower.strategies.replies import Opened, Sorted, sort_replies, unsigned


class Exchange:
    """One question to each of several nodes, and what comes back; then the next.

    Parameters
    ----------
    job : the run's name on all devices.
    identity : signs questions and checks answers; None believes every answer.

    Attributes
    ----------
    timeout_s : seconds that a message lives.
    asked : questions of the present exchange.
    names : of the nodes that have answered since this process began.
    """

    def __init__(self, job: str, identity: FogIdentity | None) -> None:
        self.job = job
        self.identity = identity
        self.timeout_s = 3600.0
        self.asked: list[Message] = []
        self.names: dict[int, str] = {}

    def begin(self) -> None:
        """From now on it is about other questions."""
        self.asked = []

    def ask(self, server_round: int, node: int, kind: str, content: RecordDict) -> Message:
        """A message that is to be sent: with round and job, signed, with a time to live."""
        config = {**content.config_records.get(CONFIG, {}), SERVER_ROUND: server_round, JOB: self.job}
        content = RecordDict({**content, CONFIG: ConfigRecord(config)})
        if self.identity is not None:
            content = self.identity.seal(
                content, job=self.job, server_round=server_round, kind=kind, receiver=self.name(node)
            )
        message = Message(content, dst_node_id=node, message_type=kind, ttl=self.timeout_s)
        self.asked.append(message)
        return message

    def sort(self, replies: Iterable[Message]) -> Sorted:
        """What has come back: answers whose senders are who they should be, and everything else."""
        return sort_replies(self.asked, replies, unsigned if self.identity is None else self._open)

    def claim(self, node: int, device: str, sender: str | None, attending: Container[int]) -> None:
        """Take down a node's name; DataError if it may not call itself so: one name, one node.

        A name moves to another node if a signature proves it, or if the node of before is not asked any more.

        Parameters
        ----------
        sender : the name that a signature proves, if there is one.
        attending : nodes that have answered in this exchange already.
        """
        if sender is not None and sender != device:
            raise DataError(f"the device calls itself {device!r}, but its answer is signed by {sender!r}")
        if self.names.get(node, device) != device:
            raise DataError(f"the device calls itself {device!r}; its name was {self.names[node]!r}")
        asked = {message.metadata.dst_node_id for message in self.asked}
        for other in [other for other, name in self.names.items() if name == device and other != node]:
            if other in attending or (sender is None and other in asked):
                raise DataError(f"the device calls itself {device!r}, which is another's name")
            del self.names[other]
        self.names[node] = device

    def name(self, node: int) -> str:
        """Of the device, if it has told it."""
        return self.names.get(node, node_name(node))

    def _open(self, question: Message, reply: Message) -> Opened:
        assert self.identity is not None
        sender = self.names.get(question.metadata.dst_node_id)
        return self.identity.open(reply.content, question=question.content, sender=sender)
