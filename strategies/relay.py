"""Relaying the inner strategy's messages to the devices of a round, and their checked answers back to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from logging import getLogger
from typing import TypeVar

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import Grid
from flwr.serverapp.exception import AggregationError, InconsistentMessageReplies
from flwr.serverapp.strategy import Strategy

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import ConfigError, RinrError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.protocol import (
    ARRAYS,
    CONFIG,
    METRICS,
    NUM_EXAMPLES,
    RETURN_MODEL,
    UPDATES,
    Introduction,
    check_metrics,
)
from rinr_flower.strategies.answers import Shape, checked, odd_ones
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.grids import AttendingGrid, StreamedGrid, TooFewNodesError
from rinr_flower.strategies.inner import nodes_needed, weight_key
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.memory import FogMemory, Measured
from rinr_flower.strategies.policy import Outgoing, Policy
from rinr_flower.strategies.replies import Lost, shorten

log = getLogger("flwr.rinr_flower")

T = TypeVar("T")
Content = Callable[[str, RecordDict], Outgoing]
"""Makes what one device is sent from the content of the inner strategy's message."""


class Relay:
    """Stands between the inner strategy and the devices that attend a round.

    Parameters
    ----------
    seed : of what the inner strategy draws from the module ``random`` while it configures a round.

    Attributes
    ----------
    attending : nodes that have answered everything so far in this round.
    start : the model that all begin with; nodes that read coded models get it so.
    """

    def __init__(self, inner: Strategy, policy: Policy, exchange: Exchange, memory: FogMemory, *, seed: int) -> None:
        self.inner = inner
        self.seed = seed
        self.exchange = exchange
        self.memory = memory
        self.policy = policy
        self.attending: set[int] = set()
        self.start = StartModel()
        self._coded: set[int] = set()  # nodes that read coded models
        self._returns_model = False  # asked of the devices in this exchange
        self._usual: dict[str, Shape | None] = {}  # shape of sound answers, by message type

    def names(self) -> frozenset[str]:
        """Names of the attending devices."""
        return frozenset(self.exchange.name(node) for node in self.attending)

    def greet(self, node: int, said: Introduction) -> None:
        """Correct what a device is believed to have and to read by what it says itself."""
        holding = self.memory.greet(said.device)
        if not self.memory.reconcile(said.device, said.holds):
            log.info("%s remembers nothing of this run; it gets everything again", said.device)
            if self.policy.common is not None:
                self.policy.common.chain.forget(said.device)
        (self._coded.add if said.coded_models else self._coded.discard)(node)
        if isinstance(self.inner, LocalTraining):
            self.inner.equip(node, holding.equipped)

    def questions(
        self, server_round: int, kind: str, arrays: ArrayRecord, config: ConfigRecord, grid: Grid, content: Content
    ) -> Iterable[Message]:
        """The inner strategy's messages to attending devices, with what ``content`` makes of theirs.

        Flower's strategies sample nodes with the module ``random``. Its draws follow here from seed, round and kind,
        and the nodes are shown in the order of the devices' names, so that a resumed run chooses the same devices.

        Raises ConfigError if the inner strategy gives no messages, or such without a ``config``.
        """
        self.exchange.begin(server_round)
        name = type(self.inner).__name__
        configure = self.inner.configure_train if kind == MessageType.TRAIN else self.inner.configure_evaluate
        try:
            with _seeded(f"{self.seed} {server_round} {kind}"):
                given = configure(server_round, arrays, config, self._shown(kind, grid))
                if given is None:
                    raise ConfigError(f"configure_{kind} of {name} gave None; it must give messages, or an empty list")
                messages = list(given)
        except TooFewNodesError as error:
            self.memory.fail(server_round, FOG, "skipped", f"{kind}: {error}")
            return []
        for message in messages:
            if CONFIG not in message.content.config_records:
                raise ConfigError(
                    f"a message of configure_{kind} of {name} has the records {sorted(message.content)}; it must "
                    f"have a ConfigRecord {CONFIG!r}"
                )
        chosen = [message for message in messages if message.metadata.dst_node_id in self.attending]
        if messages and not chosen:
            reason = f"{name} chose {len(messages)} nodes, of which none attends this round"
            self.memory.fail(server_round, FOG, "skipped", f"{kind}: {reason}")
        self._returns_model = kind == MessageType.TRAIN and any(
            message.content.config_records[CONFIG].get(RETURN_MODEL, True) for message in chosen
        )
        composed = (self._question(message, content) for message in chosen)
        # a strategy around this one, and Flower's own grids, go over the messages more than once
        return composed if isinstance(grid, StreamedGrid) else list(composed)

    def answers(
        self, server_round: int, kind: str, replies: Iterable[Message], arrays: ArrayRecord, measured: list[Measured]
    ) -> list[Message]:
        """Sound answers, entered into ``measured``; the others become failures, and their devices sit out."""
        if not self.exchange.open:
            return []
        usable, lost = dict[str, Message](), list[Lost]()
        for answer in self.exchange.answers(replies):
            if isinstance(answer, Lost):
                lost.append(answer)
                continue
            device = self.exchange.name(answer.node)
            self.exchange.meter.answered(server_round, device, answer.message, ())
            try:
                answer.message.content = self._read(device, kind, answer.content, arrays)
                usable[device] = answer.message
            except RinrError as error:
                lost.append(Lost(answer.node, "malformed", str(error)))
        contents = {device: reply.content for device, reply in usable.items()}
        odd, self._usual[kind] = odd_ones(contents, self._usual.get(kind))
        lost += [Lost(usable.pop(device).metadata.src_node_id, "malformed", reason) for device, reason in odd.items()]
        for device, reply in sorted(usable.items()):
            self.memory.confirm(device)
            measured.append(Measured(server_round, device, reply.content.metric_records[METRICS]))
        self.note(server_round, lost)
        asked = self.end(server_round, kind)
        self.attending |= {reply.metadata.src_node_id for reply in usable.values()}
        if asked and not usable:
            self.memory.fail(server_round, FOG, "skipped", f"{kind}: none of {len(asked)} devices gave a usable answer")
        return [usable[device] for device in sorted(usable)]

    def aggregated(
        self, aggregate: Callable[[int, Iterable[Message]], T], server_round: int, usable: list[Message]
    ) -> T | None:
        """The result of the inner strategy; None if there are no answers or it fails, which is noted.

        What Flower raises to end a run, such as a privacy budget that is spent, ends it here too.
        """
        try:
            return aggregate(server_round, usable) if usable else None
        except (AggregationError, InconsistentMessageReplies) as error:
            said = str(error)
        except AppExitException:
            raise
        except Exception as error:
            said = shorten(f"{type(error).__name__}: {error}")
            log.exception("round %d: %s cannot aggregate", server_round, type(self.inner).__name__)
        self.memory.fail(server_round, FOG, "error", f"{type(self.inner).__name__} does not aggregate: {said}")
        return None

    def end(self, server_round: int, kind: str) -> set[int]:
        """End an exchange; the nodes that were asked, which do not attend any more."""
        asked = self.exchange.end()
        self.attending -= asked
        self.memory.stored.append(self.exchange.meter.stored(server_round, kind))
        return asked

    def note(self, server_round: int, lost: Iterable[Lost]) -> None:
        """Enter losses as failures, in order of the devices' names."""
        for item in sorted(lost, key=lambda item: self.exchange.name(item.node)):
            name = self.exchange.name(item.node)
            if self.policy.common is not None:
                self.policy.common.chain.missed(name, unusable=item.kind in ("error", "malformed"))
            self.memory.fail(server_round, name, item.kind, item.reason)

    def _shown(self, kind: str, grid: Grid) -> AttendingGrid:
        """The attending nodes, and as many others as the inner strategy would wait for; those are not asked."""
        spare = max(0, nodes_needed(self.inner, kind)[0] - len(self.attending))
        others = [node for node in sorted(grid.get_node_ids()) if node not in self.attending]
        return AttendingGrid(grid, [*sorted(self.attending, key=self.exchange.name), *others[:spare]])

    def _question(self, message: Message, content: Content) -> Message:
        asked = message.metadata
        node = asked.dst_node_id
        out = content(self.exchange.name(node), message.content)
        brought, start = out.content, self.start
        if start.carried_by(brought.get(ARRAYS)):
            brought = RecordDict({**brought, ARRAYS: start.sent if node in self._coded else start.arrays})
        return self.exchange.question(node, asked.message_type, brought, out.clips, group_id=asked.group_id)

    def _read(self, device: str, kind: str, content: RecordDict, arrays: ArrayRecord) -> RecordDict:
        """An answer's content as the inner strategy reads it; RinrError unless it can be used."""
        if (common := self.policy.common) is not None:
            common.check_answer(device, content)
            common.chain.confirm(device)  # whatever else may be wrong with the answer
        check_metrics(content, NUM_EXAMPLES)
        if kind == MessageType.TRAIN:
            content = self.policy.trained(content)
        content = RecordDict({name: record for name, record in content.items() if name != UPDATES})
        weight = weight_key(self.inner)
        return checked(content, weight=weight, model=arrays, returns_model=self._returns_model)


@contextmanager
def _seeded(seed: str) -> Iterator[None]:
    """Seed the module ``random`` for the time being; its state of before comes back."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
