"""A Flower grid whose nodes are simulated: each message is a job of a worker, which calls the ClientApp with it."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from flwr.app import Context, Error, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from rinr_flower.simulations.client_memory import ClientMemory, measured_memory, out_of_memory
from rinr_flower.simulations.task_identity import RUN, take_server_identity
from rinr_flower.strategies.grids import StreamedGrid
from rinr_flower.workers.pool import Job, WorkerDiedError, Workers

log = logging.getLogger("flwr.rinr_flower")

FIRST_NODE = 2
POLL_S = 0.2


@dataclass(frozen=True, eq=False)
class _Played:
    """What a worker sends back: a reply and the node's context after it, or why there is none."""

    reply: Message | None
    context: Context | None
    memory: ClientMemory
    reason: str = ""
    trace: str = ""


class SimulatedGrid(Grid):
    """Nodes ``FIRST_NODE`` and up, with partitions 0 and up.

    A node has one message at a time. A new message to a node that is not done with its last one ends that work. A
    message's time to live counts from the moment in which a worker takes it. What the ClientApp raises and the death of
    a worker become error replies; other nodes and later messages do not suffer.

    Parameters
    ----------
    workers : play the nodes in turn.
    app : the ClientApp.
    count : number of nodes.
    on_measured : called once, after the first TRAIN message, with the memory that it took; until it returns no other
        TRAIN message is handed out. None: all are handed out at once.

    Attributes
    ----------
    memory : the most that a node has taken so far.
    """

    def __init__(
        self,
        workers: Workers,
        app: ClientApp,
        count: int,
        on_measured: Callable[[ClientMemory], None] | None = None,
    ) -> None:
        take_server_identity()
        self._workers = workers
        self._app = app
        self._on_measured = on_measured
        self._held_back: deque[Message] = deque()  # TRAIN messages that wait until one is measured
        self._measuring: str | None = None
        self.memory = ClientMemory()
        self._contexts = {
            FIRST_NODE + i: Context(
                run_id=RUN,
                node_id=FIRST_NODE + i,
                node_config={"partition-id": i, "num-partitions": count},
                state=RecordDict(),
                run_config={},
            )
            for i in range(count)
        }
        self._asked: dict[str, tuple[Message, Job | None]] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; their ids."""
        asked = list(messages)
        nodes = {message.metadata.dst_node_id for message in asked}
        self._drop([number for number, (old, _) in self._asked.items() if old.metadata.dst_node_id in nodes])
        for message in asked:
            message.metadata.__dict__["_message_id"] = number = str(uuid4())
            if message.metadata.dst_node_id not in self._contexts:
                raise ValueError(f"there is no node {message.metadata.dst_node_id}")
            self._asked[number] = (message, None)
            if self._on_measured is not None and message.metadata.message_type == MessageType.TRAIN:
                if self._measuring is not None:
                    self._held_back.append(message)
                    continue
                self._measuring = number
            self._submit(message)
        return [message.metadata.message_id for message in asked]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Replies that are there; if there are none, waits for a moment."""
        wanted = set(message_ids)
        replies = self._collect(wanted)
        if not replies and wanted & self._asked.keys():
            self._workers.step(POLL_S)
            replies = self._collect(wanted)
        return replies

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return list(StreamedGrid(self).send_and_receive(messages, timeout=timeout))

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def set_run(self, run: Any) -> None:
        raise NotImplementedError("a simulated grid has one run of its own")

    @property
    def run(self) -> Any:
        raise NotImplementedError("a simulated grid has no SuperLink that knows of its run")

    def _submit(self, message: Message) -> None:
        context = self._contexts[message.metadata.dst_node_id]
        job = self._workers.submit(_play, self._app, message, context, seconds=message.metadata.ttl)
        self._asked[message.metadata.message_id] = (message, job)

    def _collect(self, wanted: set[str]) -> list[Message]:
        """Replies to messages whose jobs have ended."""
        done = [(message, job) for n, (message, job) in self._asked.items() if n in wanted and job and job.done]
        replies = []
        for message, job in done:
            del self._asked[message.metadata.message_id]
            replies.append(self._reply(message, job))
        return replies

    def _reply(self, message: Message, job: Job) -> Message:
        node = message.metadata.dst_node_id
        reply: Message | None = None
        code, reason = ErrorCode.CLIENT_APP_RAISED_EXCEPTION, ""
        if isinstance(job.error, WorkerDiedError):
            code, reason = ErrorCode.CLIENT_APP_CRASHED, str(job.error)
        elif job.error is not None:
            reason = f"{type(job.error).__name__}: {job.error}"
        else:
            played: _Played = job.value
            self.memory = self.memory.most(played.memory)
            reply, reason = played.reply, played.reason
            if played.context is not None:
                self._contexts[node] = played.context
            if played.trace:
                log.info("node %d raised\n%s", node, played.trace)
        if message.metadata.message_id == self._measuring:
            self._measured(successful=reply is not None)
        return Message(Error(code, reason), reply_to=message) if reply is None else reply

    def _measured(self, successful: bool) -> None:
        """One TRAIN message has ended: if it says how much memory that takes, hand out all others, else one more."""
        self._measuring = None
        if successful and self._on_measured is not None:
            self._on_measured(self.memory)
            self._on_measured = None
        while self._held_back:
            message = self._held_back.popleft()
            if message.metadata.message_id not in self._asked:
                continue
            self._submit(message)
            if self._on_measured is not None:
                self._measuring = message.metadata.message_id
                return

    def _drop(self, numbers: Sequence[str]) -> None:
        """Forget messages that nobody waits for any more."""
        jobs = [job for number in numbers if (job := self._asked.pop(number)[1]) is not None]
        self._workers.cancel(jobs)
        if self._measuring in numbers:
            self._measured(successful=False)


def _play(app: ClientApp, message: Message, context: Context) -> _Played:
    """Call the ClientApp, in a worker."""
    try:
        reply = app(message, context)
    except Exception as error:
        reason = out_of_memory(error) or f"{type(error).__name__}: {error}"
        return _Played(None, None, measured_memory(), reason, traceback.format_exc())
    return _Played(reply, context, measured_memory())
