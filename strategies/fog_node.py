"""The fog node: collect captures once, encode them, send every device the payloads of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import Result, Strategy

from rinr_flower.bandwidth import FOG, Ledger
from rinr_flower.codecs import Codec, codecs
from rinr_flower.errors import DataError, RinrError
from rinr_flower.messages.identity import FogIdentity
from rinr_flower.messages.protocol import (
    PAYLOADS,
    Capture,
    check_metrics,
    check_model,
    payloads_record,
    query_content,
    read_captures,
)
from rinr_flower.report import FailureRecord
from rinr_flower.strategies.encode_once import encode_once
from rinr_flower.strategies.encoding import Encoder, local_encoder
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.keeping import Arrays, InMemory, Keep
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.memory import FogMemory, Measured, Shared
from rinr_flower.strategies.metering import Clip, Meter
from rinr_flower.strategies.model_arrays import arrays_in, arrays_of_record, prefixed, put_arrays, record_of, under
from rinr_flower.strategies.replies import Answer, Lost
from rinr_flower.strategies.resuming import check_same, describe
from rinr_flower.strategies.rounds import Rounds

log = getLogger("flwr.rinr_flower")

DEFAULT_LIMITS = CaptureLimits()
Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


class FogNode(Strategy):
    """Share captured frames as compact payloads, next to any Flower strategy for the model.

    A round reads: ask every device for its captures, encode them, send each device those of the others together with
    the inner strategy's training message, collect answers, evaluate. A device that fails loses its own data of the
    round; what it missed is sent to it in the next round that it attends.

    Parameters
    ----------
    codec : what the fog encodes with: a codec, its name, or a mapping with ``name`` and options. If it equals
        ``upload``, captures are passed on as they are.
    inner : strategy for the model, for example ``FedAvg()``. None: each device keeps its own (:class:`LocalTraining`).
    upload : codec that the devices upload with, as name or mapping; ``jpeg`` uploads the camera's own files, None
        leaves captures where they are.
    min_devices : the fog waits for so many devices; a round with fewer answers is skipped.
    seed : of the encoder; round and order of the captures do not change it.
    device : torch device that the fog encodes on.
    encoder : decodes and encodes what is uploaded, see ``encoding``. None takes a worker process per CPU core, so that
        bytes which crash a decoder cost their clip alone; ``encode_here`` works in this process.
    ledger : takes every message; by default a new one, at ``.ledger``.
    keep : where captures, payloads and the state after every round are kept; :meth:`start` goes on where what it holds
        ends. None keeps them in memory: a run that is killed is lost.
    identity : signs what is sent and checks who answers; None believes every answer.
    limits : how much one device may upload in a round; a device that passes them sits the round out.
    progress : called while the fog encodes.

    Attributes
    ----------
    memory : what the fog knows of its devices, and the lists that follow.
    shared : every clip shared so far.
    failures : every device's failure so far.
    trained, evaluated : what every device has reported so far.
    start_arrays : the model that the first round began with; None before.
    """

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec = "scene",
        *,
        inner: Strategy | None = None,
        upload: str | Mapping[str, Any] | None = "jpeg",
        min_devices: int = 1,
        seed: int = 0,
        device: str = "cpu",
        encoder: Encoder | None = None,
        ledger: Ledger | None = None,
        keep: Keep | None = None,
        identity: FogIdentity | None = None,
        limits: CaptureLimits = DEFAULT_LIMITS,
        progress: Progress | None = None,
    ) -> None:
        self.codec = codec if isinstance(codec, Codec) else codecs.create(codec)
        self.inner = LocalTraining() if inner is None else inner
        self.upload = upload
        self.min_devices = min_devices
        self.seed = seed
        self.device = device
        self.encoder = local_encoder() if encoder is None else encoder
        self.ledger = Ledger() if ledger is None else ledger
        self.keep = InMemory() if keep is None else keep
        self.exchange = Exchange(self.keep.job, identity)
        self.meter = Meter(self.ledger)
        self.limits = limits
        self.progress = progress
        self.memory = FogMemory()
        self.shared, self.failures = self.memory.shared, self.memory.failures
        self.trained, self.evaluated = self.memory.trained, self.memory.evaluated
        self.start_arrays: ArrayRecord | None = None
        self._passes_on = upload is not None and self.codec == codecs.create(upload)
        self._attending: set[int] = set()  # nodes that have answered everything so far in this round
        self._loaded: dict[int, bytes] = {}  # payloads on their way in this exchange, by their clips' numbers
        self._model = ArrayRecord()  # what this round's training started from
        self._arrays = ArrayRecord()  # what the next round starts from

    def summary(self) -> None:
        log.info("\t├──> Sharing: %s uploaded as %s", self.codec, self.upload)
        log.info("\t├──> At least %d devices in a round", self.min_devices)
        self.inner.summary()

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """As in Flower, but ``num_rounds`` is the number of the last round: what has been done before counts.

        ``timeout`` (seconds) bounds every exchange and every message's life. ``initial_arrays`` are taken before the
        first round only.

        Raises
        ------
        DataError
            If something cannot be kept, or what was kept cannot be read.
        ConfigError
            If what was kept is of a strategy with other settings.
        """
        self.exchange.timeout_s = timeout
        self.recall()
        if self.start_arrays is None:
            self.start_arrays = self._arrays = initial_arrays
            self._keep_round(0, 0.0)
        self.meter.start_model = self.start_arrays
        rounds = Rounds(self, grid, timeout, train_config or ConfigRecord(), evaluate_config or ConfigRecord())
        return rounds.run(self.memory.rounds, num_rounds, self.start_arrays, self._arrays, self._finish, evaluate_fn)

    def recall(self) -> int:
        """Take up what ``keep`` holds, unless that has been done; the number of whole rounds so far."""
        if self.start_arrays is None and (kept := self.keep.load()) is not None:
            check_same(kept.rounds[-1]["strategy"], describe(self))
            self.memory.take_up(kept.rounds, self.keep)
            self.start_arrays = self._arrays = record_of(under("model", kept.first))
            if self.memory.rounds and (model := under("model", kept.last)):
                self._arrays = record_of(model)
            put_arrays(self.inner, under("inner", kept.last))
            self._take_up(kept.rounds, kept.last)
            self.ledger.break_off(int(kept.rounds[-1]["ledger"]))
            if self.memory.rounds:
                log.info("going on after round %d", self.memory.rounds)
        return self.memory.rounds

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Collect captures, encode them, and put payloads into the inner strategy's messages."""
        self._encode(server_round, self._collect(server_round, grid))
        if len(self._attending) < self.min_devices:
            reason = f"{len(self._attending)} devices answered, min_devices is {self.min_devices}"
            log.warning("round %d is skipped: %s", server_round, reason)
            self.failures.append(FailureRecord(server_round, FOG, "skipped", reason))
            self._attending.clear()
        self._model = arrays
        messages = self.inner.configure_train(server_round, arrays, config, grid) if self._attending else []
        self.exchange.begin()
        for message in messages:
            if (node := message.metadata.dst_node_id) in self._attending:
                device = self.exchange.name(node)
                self._ask(server_round, message, *self._training_content(server_round, device, message.content))
        self._loaded.clear()
        self.ledger.flush()
        return self.exchange.asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Keep the usable answers, remember what has been received, and let the inner strategy aggregate."""
        usable = self._usable(server_round, replies)
        for reply in usable:
            device = self.exchange.names[reply.metadata.src_node_id]
            self.trained.append(Measured(server_round, device, check_metrics(reply.content)))
        try:
            return self.inner.aggregate_train(server_round, usable)
        except InconsistentMessageReplies as error:
            log.warning("round %d: the model is not aggregated: %s", server_round, error)
            return None, None

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, to the devices that have answered so far in this round."""
        messages = self.inner.configure_evaluate(server_round, arrays, config, grid) if self._attending else []
        self.exchange.begin()
        for message in messages:
            if (node := message.metadata.dst_node_id) in self._attending:
                content = self._evaluation_content(self.exchange.name(node), message.content)
                self._ask(server_round, message, content, ())
        self.ledger.flush()
        return self.exchange.asked

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Keep the usable answers and let the inner strategy average them."""
        usable = self._usable(server_round, replies)
        for reply in usable:
            metrics = check_metrics(reply.content)
            self.evaluated.append(Measured(server_round, self.exchange.names[reply.metadata.src_node_id], metrics))
        return self.inner.aggregate_evaluate(server_round, usable)

    def _collect(self, server_round: int, grid: Grid) -> list[Capture]:
        """Every capture, in order of the devices' and the clips' names."""
        content = query_content(server_round, self.upload)
        self.exchange.begin()
        self._attending = set()
        for node in self._wait_for_devices(grid):
            self.exchange.ask(server_round, node, MessageType.QUERY, content)
        replies = grid.send_and_receive(self.exchange.asked, timeout=self.exchange.timeout_s)
        answers, lost = self._answers(server_round, replies)
        found: list[Capture] = []
        for node, answer in answers.items():
            try:
                device, captures, holds = read_captures(answer.content)
                self.limits.check(captures)
                self.exchange.claim(node, device, answer.sender, self._attending)
            except DataError as error:
                lost.append(Lost(node, "malformed", str(error)))
                self.meter.refused(server_round, self.exchange.name(node), answer.message)
                continue
            self._attending.add(node)
            self.meter.answered(server_round, device, answer.message, [(c.clip, c.data) for c in captures])
            self._greet(node, device, holds)
            found += captures
        for question in self.exchange.asked:  # now that the nodes' names are known
            self.meter.asked(server_round, self.exchange.name(question.metadata.dst_node_id), question, ())
        self._note(server_round, lost)
        self.ledger.flush()
        return sorted(found, key=lambda capture: (capture.device, capture.clip))

    def _greet(self, node: int, device: str, holds: str | None) -> None:
        """Set right what the device has, by what it says itself."""
        holding = self.memory.greet(device)
        if holds is not None and not self.memory.compare(device, holds):
            self._forget(device)
        if isinstance(self.inner, LocalTraining):
            self.inner.equip(node, holding.equipped)

    def _encode(self, server_round: int, captures: list[Capture]) -> None:
        """Check every clip of the round and make it a payload, unless it has one from before the run was broken off."""
        progress = None if self.progress is None else partial(self.progress, f"round {server_round}: encoding")
        made = encode_once(
            None if self._passes_on else self.codec,
            captures,
            self.keep,
            self.encoder,
            seed=self.seed,
            device=self.device,
            decode_seconds=self.limits.seconds,
            progress=progress,
        )
        for capture, item in zip(captures, made, strict=True):
            if item.payload is None:
                reason = f"clip {capture.clip!r}: {item.reason}"
                self.failures.append(FailureRecord(server_round, capture.device, "malformed", reason))
                log.warning("round %d: %s is left out (malformed): %s", server_round, capture.device, reason)
                continue
            self.shared.append(
                Shared(
                    server_round,
                    capture.device,
                    capture.clip,
                    capture.camera_bytes,
                    item.upload,
                    item.payload,
                    item.seconds,
                )
            )
        uploaded = sum(item.upload.size for item in made)
        encoded = [item.payload.size for item in made if item.payload is not None]
        log.info("round %d: %d clips, %d bytes uploaded, %d to share", server_round, len(made), uploaded, sum(encoded))

    def _training_content(self, server_round: int, device: str, content: RecordDict) -> tuple[RecordDict, list[Clip]]:
        """The inner strategy's message with every payload of other devices that its receiver has not confirmed."""
        numbers = self.memory.missing(device)
        self.memory.send(device, numbers, numbers)
        for i in numbers:
            if i not in self._loaded:
                self._loaded[i] = self.shared[i].payload.data
        clips = [(self.shared[i].device, self.shared[i].clip, self._loaded[i]) for i in numbers]
        return RecordDict({**content, PAYLOADS: payloads_record([data for *_, data in clips])}), clips

    def _evaluation_content(self, device: str, content: RecordDict) -> RecordDict:
        """What the inner strategy's evaluation message becomes on its way."""
        return content

    def _ask(self, server_round: int, message: Message, content: RecordDict, clips: Iterable[Clip]) -> None:
        """Send ``content`` in the place of the inner strategy's message."""
        node, kind = message.metadata.dst_node_id, message.metadata.message_type
        question = self.exchange.ask(server_round, node, kind, content)
        self.meter.asked(server_round, self.exchange.name(node), question, clips)

    def _answers(self, server_round: int, replies: Iterable[Message]) -> tuple[dict[int, Answer], list[Lost]]:
        came = self.exchange.sort(replies)
        for reply in came.refused:
            self.meter.refused(server_round, self.exchange.name(reply.metadata.src_node_id), reply)
        return came.answers, came.lost

    def _usable(self, server_round: int, replies: Iterable[Message]) -> list[Message]:
        """Answers to this exchange that are sound; the others become failures, and their devices sit out."""
        answers, lost = self._answers(server_round, replies)
        usable = []
        for node, answer in answers.items():
            reply, device = answer.message, self.exchange.names[node]
            self.meter.answered(server_round, device, reply, ())
            reply.content = answer.content
            try:
                self._check(device, reply)
            except RinrError as error:
                lost.append(Lost(node, "malformed", str(error)))
                continue
            self._received(device)
            usable.append(reply)
        self._attending -= {message.metadata.dst_node_id for message in self.exchange.asked}
        self._attending |= {reply.metadata.src_node_id for reply in usable}
        self._note(server_round, lost)
        self.ledger.flush()
        return sorted(usable, key=lambda reply: self.exchange.names[reply.metadata.src_node_id])

    def _check(self, device: str, reply: Message) -> None:
        """RinrError unless the answer can be used."""
        check_metrics(reply.content)
        for arrays in reply.content.array_records.values() if self._model else ():
            check_model(arrays, self._model)

    def _received(self, device: str) -> None:
        """The device has answered: what it was sent last has arrived."""
        self.memory.confirm(device)

    def _forget(self, device: str) -> None:
        """The device has lost all that it had."""
        log.info("%s remembers nothing of this run; it gets everything again", device)

    def _wait_for_devices(self, grid: Grid) -> list[int]:
        """Ids of the connected nodes, as soon as there are ``min_devices``, or when the time is up."""
        end = time.monotonic() + self.exchange.timeout_s
        while len(nodes := sorted(grid.get_node_ids())) < self.min_devices and time.monotonic() < end:
            time.sleep(0.2)
        return nodes

    def _note(self, server_round: int, lost: Iterable[Lost]) -> None:
        for item in sorted(lost, key=lambda item: self.exchange.name(item.node)):
            failure = FailureRecord(server_round, self.exchange.name(item.node), item.kind, item.reason)
            self.failures.append(failure)
            log.warning("round %d: %s is left out (%s): %s", server_round, failure.device, item.kind, item.reason)

    def _finish(self, server_round: int, arrays: ArrayRecord, seconds: float) -> None:
        self.memory.rounds, self._arrays = server_round, arrays
        self._keep_round(server_round, seconds)

    def _keep_round(self, server_round: int, seconds: float) -> None:
        """Write down what is known after a round, in one piece and after the ledger."""
        self.ledger.flush()
        state = {"strategy": describe(self), "seconds": seconds, "ledger": len(self.ledger), **self.memory.state()}
        arrays = prefixed("inner", arrays_in(self.inner))
        if server_round == 0 or self._arrays is not self.start_arrays:
            arrays |= prefixed("model", arrays_of_record(self._arrays))
        self.keep.save_round(server_round, {**state, **self._state()}, {**arrays, **self._more_arrays()})

    def _state(self) -> dict[str, Any]:
        """What a subclass remembers besides, as JSON values: what is new since the last call."""
        return {}

    def _more_arrays(self) -> dict[str, Any]:
        """Arrays that a subclass remembers besides."""
        return {}

    def _take_up(self, states: list[Mapping[str, Any]], arrays: Arrays) -> None:
        """Know again what ``_state`` and ``_more_arrays`` gave after every round."""
