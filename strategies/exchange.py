"""The fog's end of an exchange of messages: composes questions, matches answers, and meters both."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator

from flwr.app import ConfigRecord, Message, RecordDict

from rinr_flower.errors import DataError
from rinr_flower.messages.identity import SIGNATURE, FogIdentity, node_name
from rinr_flower.messages.protocol import CONFIG, JOB, SERVER_ROUND
from rinr_flower.strategies.metering import Clip, Meter
from rinr_flower.strategies.replies import Answer, Asked, Lost, Opened, Refused, match_replies, unsigned


class Exchange:
    """Questions to several nodes and their answers; one exchange after another.

    Parameters
    ----------
    job : the run's name on all devices.
    identity : signs questions and checks answers; None believes every answer.
    meter : enters every message into the ledger.
    timeout_s : time to live of a message, in seconds.

    Attributes
    ----------
    names : of the nodes that have answered since this process began.
    open : whether an exchange has begun and not ended.
    """

    def __init__(self, job: str, identity: FogIdentity | None, meter: Meter, timeout_s: float) -> None:
        self.job = job
        self.identity = identity
        self.meter = meter
        self.timeout_s = timeout_s
        self.names: dict[int, str] = {}
        self.open = False
        self._asked: list[Asked] = []
        self._round = 0
        self._unnamed: list[Message] = []  # questions to be metered once their nodes have told their names

    def begin(self, server_round: int) -> None:
        """Begin an exchange of a round."""
        self.open, self._round, self._asked = True, server_round, []
        self.meter.begin()

    def question(
        self, node: int, kind: str, content: RecordDict, clips: Iterable[Clip] = (), *, group_id: str | None = None
    ) -> Message:
        """Compose a message: with round and job, signed, with a time to live. ``clips`` are the payloads in it."""
        config = {**content.config_records.get(CONFIG, {}), SERVER_ROUND: self._round, JOB: self.job}
        content = RecordDict({**content, CONFIG: ConfigRecord(config)})
        signature = RecordDict()
        if self.identity is not None:
            content = self.identity.seal(
                content, job=self.job, server_round=self._round, kind=kind, receiver=self.name(node)
            )
            signature[SIGNATURE] = content[SIGNATURE]
        message = Message(content, dst_node_id=node, message_type=kind, ttl=self.timeout_s, group_id=group_id)
        self._asked.append(Asked(message.metadata, signature))
        if node in self.names:
            self.meter.asked(self._round, self.name(node), message, clips)
        else:
            self._unnamed.append(message)
        return message

    def answers(self, replies: Iterable[Message]) -> Iterator[Answer | Lost]:
        """Answers of the nodes that were asked, and a loss for each node that has none, as the replies come in."""
        for found in match_replies(self._asked, replies, unsigned if self.identity is None else self._open):
            if isinstance(found, Refused):
                self.refuse(found.message)
            else:
                yield found

    def refuse(self, message: Message) -> None:
        """Meter a message that cannot be used."""
        self.meter.refused(self._round, self.name(message.metadata.src_node_id), message)

    def end(self) -> set[int]:
        """End the exchange; the nodes that were asked."""
        for message in self._unnamed:
            self.meter.asked(self._round, self.name(message.metadata.dst_node_id), message, ())
        self.meter.ledger.flush()
        nodes = {question.node for question in self._asked}
        self.open, self._asked, self._unnamed = False, [], []
        return nodes

    def claim(self, node: int, device: str, sender: str | None, attending: Container[int]) -> None:
        """Enter a node's name; DataError if another node has it.

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
        asked = {question.node for question in self._asked}
        for other in [other for other, name in self.names.items() if name == device and other != node]:
            if other in attending or (sender is None and other in asked):
                raise DataError(f"the device calls itself {device!r}, which is another's name")
            del self.names[other]
        self.names[node] = device

    def name(self, node: int) -> str:
        """The name of a node's device, or a name for the node while it has not told one."""
        return self.names.get(node, node_name(node))

    def _open(self, question: Asked, reply: Message) -> Opened:
        assert self.identity is not None
        return self.identity.open(reply.content, question=question.signature, sender=self.names.get(question.node))
