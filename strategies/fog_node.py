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
from rinr_flower.errors import RinrError
from rinr_flower.messages.identity import FogIdentity
from rinr_flower.messages.protocol import Capture, check_metrics, check_model, query_content
from rinr_flower.messages.training import Training
from rinr_flower.report import FailureRecord
from rinr_flower.strategies.collecting import read_answers
from rinr_flower.strategies.encode_once import encode_once
from rinr_flower.strategies.encoding import Encoder, local_encoder
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.keeping import InMemory, Keep
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.memory import FogMemory, Measured, Shared
from rinr_flower.strategies.metering import Meter
from rinr_flower.strategies.payload_sharing import PayloadSharing
from rinr_flower.strategies.policy import Outgoing, Policy, Progress, Round
from rinr_flower.strategies.replies import Lost
from rinr_flower.strategies.resuming import restore, save

log = getLogger("flwr.rinr_flower")

DEFAULT_LIMITS = CaptureLimits()
Evaluate = Callable[[int, ArrayRecord], MetricRecord | None]
"""Flower's central evaluation: round and model to metrics."""


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
    keep : where captures, payloads and the state after every round are kept, so that a run can be resumed. None keeps
        them in memory: a run that is killed is lost.
    identity : signs what is sent and checks who answers; None believes every answer.
    limits : how much one device may upload in a round; a device that passes them sits the round out.
    policy : what devices are sent beside the inner strategy's messages; by default all payloads of the others.
    timeout : seconds that bound every exchange and every message's life. :meth:`start` sets it too.
    progress : called while the fog encodes.

    Attributes
    ----------
    memory : what the fog knows of its devices, and the lists that follow.
    shared : every clip shared so far.
    failures : every device's failure so far.
    trained, evaluated : what every device has reported so far.
    start_arrays : the model that the first round began with; None before.
    arrays : the present model.
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
        policy: Policy | None = None,
        timeout: float = 3600,
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
        self.meter = Meter(self.ledger)
        self.exchange = Exchange(self.keep.job, identity, self.meter, timeout)
        self.limits = limits
        self.policy = PayloadSharing() if policy is None else policy
        self.progress = progress
        self.memory = FogMemory()
        self.start_arrays: ArrayRecord | None = None
        self.arrays = ArrayRecord()
        self.attending: set[int] = set()  # nodes that have answered everything so far in this round
        self.round: Round | None = None  # None before its captures are encoded, and if it is skipped
        self._given: ArrayRecord | None = None  # what the loop over rounds began with
        self._open: tuple[int, float] | None = None  # number of the round that is not finished yet, and when it began
        self._driven = False  # by this class's own start
        self._recalled = False

    @property
    def shared(self) -> list[Shared]:
        return self.memory.shared

    @property
    def failures(self) -> list[FailureRecord]:
        return self.memory.failures

    @property
    def trained(self) -> list[Measured]:
        return self.memory.trained

    @property
    def evaluated(self) -> list[Measured]:
        return self.memory.evaluated

    def summary(self) -> None:
        log.info("\t├──> Sharing: %s uploaded as %s", self.codec, self.upload)
        log.info("\t├──> %s", self.policy.summary())
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
        evaluate_fn: Evaluate | None = None,
    ) -> Result:
        """Run rounds 1 to ``num_rounds`` as Flower does; those that ``keep`` holds already are not repeated.

        ``timeout`` (seconds) bounds every exchange and every message's life. ``initial_arrays`` are taken before the
        first round only. ``Result`` has the metrics of all rounds.

        Raises
        ------
        DataError
            If something cannot be kept, or what was kept cannot be read.
        ConfigError
            If what was kept is of a strategy with other settings.
        """
        self.exchange.timeout_s = timeout
        done = self.recall()
        self._set_up(initial_arrays, train_config or ConfigRecord())
        assert self.start_arrays is not None
        self._driven = True
        try:
            evaluate = None if evaluate_fn is None else partial(self._evaluate, evaluate_fn, done)
            start, configs = self.start_arrays, (train_config, evaluate_config)
            return super().start(grid, start, num_rounds, timeout, *configs, evaluate)
        finally:
            self._driven = False

    def recall(self) -> int:
        """Restore what ``keep`` holds, the first time; the number of whole rounds so far."""
        if not self._recalled:
            restore(self)
            if self.memory.rounds:
                log.info("going on after round %d", self.memory.rounds)
        self._recalled = True
        return self.memory.rounds

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Collect captures, encode them, and put what the policy sends into the inner strategy's messages."""
        self._finish()
        if server_round <= self.recall():
            self._set_up(arrays, config)
            return []
        self._set_up(arrays, config)
        self._take(arrays)
        self._open = server_round, time.monotonic()
        captures = self.collect(server_round, grid)
        self.encode(server_round, captures)
        if len(self.attending) < self.min_devices:
            reason = f"{len(self.attending)} devices answered, min_devices is {self.min_devices}"
            self.memory.fail(server_round, FOG, "skipped", reason)
            self.attending.clear()
            return []
        names = frozenset(self.exchange.name(node) for node in self.attending)
        training = Training.of_config(config)
        self.round = Round(server_round, names, training, self.memory, self.device, self.progress)
        self.policy.prepare(self.round)
        config = self.policy.train_config(config)
        messages = self.inner.configure_train(server_round, self.arrays, config, grid)
        return self._questions(self.round, messages, self.content)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Keep the usable answers, remember what has been received, and let the inner strategy aggregate."""
        if server_round <= self.memory.rounds:
            resumed = server_round == self.memory.rounds and self._driven and self.arrays is not self.start_arrays
            return self.arrays if resumed else None, self.memory.result(server_round, "train")
        usable = self._usable(server_round, replies, self.memory.trained)
        if self.round is None:
            return None, None
        try:
            arrays, metrics = self.inner.aggregate_train(server_round, usable)
        except InconsistentMessageReplies as error:
            log.warning("round %d: the model is not aggregated: %s", server_round, error)
            arrays, metrics = None, None
        arrays, metrics = self.policy.aggregated(self.round, arrays, metrics)
        self.memory.note_result(server_round, "train", metrics)
        if arrays is not None:
            self.arrays = arrays
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """The inner strategy's messages, to the devices that have answered so far in this round."""
        if server_round <= self.memory.rounds:
            return []
        self._take(arrays)
        if self.round is None or not self.attending:
            return []
        messages = self.inner.configure_evaluate(server_round, self.arrays, config, grid)
        return self._questions(
            self.round, messages, lambda _, device, content: Outgoing(self.policy.evaluate_content(device, content))
        )

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Keep the usable answers, let the inner strategy average them, and finish the round."""
        if server_round <= self.memory.rounds:
            return self.memory.result(server_round, "evaluate")
        metrics = self.inner.aggregate_evaluate(
            server_round, self._usable(server_round, replies, self.memory.evaluated)
        )
        self.memory.note_result(server_round, "evaluate", metrics)
        self._finish()
        return metrics

    # Steps of a round that a subclass may override.

    def wait(self, grid: Grid) -> list[int]:
        """Ids of the connected nodes, as soon as there are ``min_devices``, or when the time is up."""
        end = time.monotonic() + self.exchange.timeout_s
        while len(nodes := sorted(grid.get_node_ids())) < self.min_devices and time.monotonic() < end:
            time.sleep(0.2)
        return nodes

    def collect(self, server_round: int, grid: Grid) -> list[Capture]:
        """Ask all devices; their captures in order of the devices' and the clips' names."""
        self.exchange.begin(server_round)
        content = query_content(server_round, self.upload)
        questions = [self.exchange.question(node, MessageType.QUERY, content) for node in self.wait(grid)]
        answers, lost = self.exchange.answers(grid.send_and_receive(questions, timeout=self.exchange.timeout_s))
        came = read_answers(answers, server_round, self.exchange, self.limits, self._greet)
        self.attending = came.nodes
        self._note(server_round, [*lost, *came.lost])
        self.exchange.end()
        return came.captures

    def encode(self, server_round: int, captures: list[Capture]) -> None:
        """Check every clip and add it and its payload to ``shared``; what was encoded before a crash is used again."""
        passes_on = self.upload is not None and self.codec == codecs.create(self.upload)
        made = encode_once(
            None if passes_on else self.codec,
            captures,
            self.keep,
            self.encoder,
            seed=self.seed,
            device=self.device,
            decode_seconds=self.limits.seconds,
            progress=None if self.progress is None else partial(self.progress, f"round {server_round}: encoding"),
        )
        for capture, item in zip(captures, made, strict=True):
            if item.payload is None:
                self.memory.fail(server_round, capture.device, "malformed", f"clip {capture.clip!r}: {item.reason}")
                continue
            about = server_round, capture.device, capture.clip, capture.camera_bytes
            self.shared.append(Shared(*about, item.upload, item.payload, item.seconds))
        uploaded = sum(item.upload.size for item in made)
        encoded = [item.payload.size for item in made if item.payload is not None]
        log.info("round %d: %d clips, %d bytes uploaded, %d to share", server_round, len(made), uploaded, sum(encoded))

    def content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        """Content of the training message to a device, made from that of the inner strategy's message."""
        return self.policy.train_content(fog_round, device, content)

    # What the steps above have in common.

    def _set_up(self, arrays: ArrayRecord, config: ConfigRecord) -> None:
        """Begin the run with ``arrays``, or bring them up to date with the model of the run that is resumed."""
        if self.start_arrays is None:
            common = self.policy.common
            model = arrays if common is None else common.begin(arrays, Training.of_config(config))
            self.start_arrays = self.arrays = model
            save(self, 0, 0.0)
        if self._given is None or self._driven:
            self._given = arrays
            if not self._driven and self.memory.rounds:
                arrays.clear()  # a strategy around this one has taken the same object for the present model
                arrays.update(self.arrays)
        self.meter.start_model = self.start_arrays

    def _take(self, arrays: ArrayRecord) -> None:
        """Go on with ``arrays`` if they are newer than what the loop over rounds began with."""
        if arrays is not self._given:
            self.arrays = arrays
        if self.policy.common is not None:
            self.policy.common.check_model(self.arrays)

    def _greet(self, node: int, device: str, holds: str | None) -> None:
        """Correct what the device is believed to have by what it says itself."""
        holding = self.memory.greet(device)
        if holds is not None and not self.memory.reconcile(device, holds):
            log.info("%s remembers nothing of this run; it gets everything again", device)
            if self.policy.common is not None:
                self.policy.common.chain.forget(device)
        if isinstance(self.inner, LocalTraining):
            self.inner.equip(node, holding.equipped)

    def _questions(
        self, fog_round: Round, messages: Iterable[Message], content: Callable[[Round, str, RecordDict], Outgoing]
    ) -> list[Message]:
        """The inner strategy's messages to attending devices, with what ``content`` makes of theirs."""
        self.exchange.begin(fog_round.number)
        questions = []
        for message in messages:
            asked = message.metadata
            if asked.dst_node_id in self.attending:
                out = content(fog_round, self.exchange.name(asked.dst_node_id), message.content)
                questions.append(
                    self.exchange.question(
                        asked.dst_node_id, asked.message_type, out.content, out.clips, group_id=asked.group_id
                    )
                )
        self.ledger.flush()
        return questions

    def _usable(self, server_round: int, replies: Iterable[Message], measured: list[Measured]) -> list[Message]:
        """Sound answers, entered into ``measured``; the others become failures, and their devices sit out."""
        answers, lost = self.exchange.answers(replies)
        usable: dict[str, Message] = {}
        for node, answer in answers.items():
            reply, device = answer.message, self.exchange.names[node]
            self.meter.answered(server_round, device, reply, ())
            try:
                reply.content = self._read(device, reply.metadata.message_type, answer.content)
            except RinrError as error:
                lost.append(Lost(node, "malformed", str(error)))
                continue
            self.memory.confirm(device)
            if self.policy.common is not None:
                self.policy.common.chain.confirm(device)
            usable[device] = reply
        self._note(server_round, lost)
        self.attending -= self.exchange.end()
        self.attending |= {reply.metadata.src_node_id for reply in usable.values()}
        devices = sorted(usable)
        measured += [Measured(server_round, device, check_metrics(usable[device].content)) for device in devices]
        return [usable[device] for device in devices]

    def _read(self, device: str, kind: str, content: RecordDict) -> RecordDict:
        """An answer's content as the inner strategy reads it; RinrError unless it can be used."""
        check_metrics(content)
        if self.policy.common is not None:
            self.policy.common.check_answer(device, content)
        if kind == MessageType.TRAIN:
            content = self.policy.trained(content)
        for arrays in content.array_records.values() if self.arrays else ():
            check_model(arrays, self.arrays)
        return content

    def _note(self, server_round: int, lost: Iterable[Lost]) -> None:
        """Enter losses as failures, in order of the devices' names."""
        for item in sorted(lost, key=lambda item: self.exchange.name(item.node)):
            name = self.exchange.name(item.node)
            if self.policy.common is not None:
                self.policy.common.chain.missed(name, unusable=item.kind in ("error", "malformed"))
            self.memory.fail(server_round, name, item.kind, item.reason)

    def _evaluate(self, evaluate_fn: Evaluate, done: int, number: int, arrays: ArrayRecord) -> MetricRecord | None:
        """Evaluate the model after a round, unless that was done before the run was broken off."""
        if number < done:
            return self.memory.result(number, "server")
        metrics = evaluate_fn(number, arrays)
        self.memory.note_result(number, "server", metrics)
        return metrics

    def _finish(self) -> None:
        """End the round that is open, if there is one, and write down what is known after it."""
        if self._open is not None:
            number, began = self._open
            self._open = self.round = None
            self.memory.rounds = number
            save(self, number, time.monotonic() - began)
