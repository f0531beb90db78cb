"""The fog node: collect captures once, encode them, send every device the payloads of the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.exception import InconsistentMessageReplies
from flwr.serverapp.strategy import Result, Strategy

from rinr_flower.bandwidth import FailureRecord, Ledger
from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.errors import DataError, RinrError
from rinr_flower.frames import Clip
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.metering import Meter
from rinr_flower.strategies.protocol import (
    PAYLOADS,
    Capture,
    check_metrics,
    check_model,
    payloads_record,
    query_content,
    read_captures,
)
from rinr_flower.strategies.replies import Lost, sort_replies

log = getLogger("flwr.rinr_flower")

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""


@dataclass(frozen=True, eq=False)
class Shared:
    """One clip that the fog shares.

    Attributes
    ----------
    round : when it was captured, from 1.
    node : Flower's id of the device that captured it.
    capture : what that device uploaded.
    payload : what the other devices receive.
    encode_seconds : the clip's share of the time that its batch took to encode.
    """

    round: int
    node: int
    capture: Capture
    payload: bytes
    encode_seconds: float


@dataclass(frozen=True, eq=False)
class Measured:
    """What one device reported of its training or its evaluation in a round: numbers by name."""

    round: int
    device: str
    metrics: Mapping[str, Any]


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
    ledger : takes every message; by default a new one, at ``.ledger``.
    progress : called while the fog encodes.

    Attributes
    ----------
    shared : every clip shared so far.
    failures : every device's failure so far.
    trained, evaluated : what every device has reported so far.
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
        ledger: Ledger | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.codec = codec if isinstance(codec, Codec) else codecs.create(codec)
        self.inner = LocalTraining() if inner is None else inner
        self.upload = upload
        self.min_devices = min_devices
        self.seed = seed
        self.device = device
        self.ledger = Ledger() if ledger is None else ledger
        self.meter = Meter(self.ledger)
        self.progress = progress
        self.shared: list[Shared] = []
        self.failures: list[FailureRecord] = []
        self.trained: list[Measured] = []
        self.evaluated: list[Measured] = []
        self.names: dict[int, str] = {}  # of the nodes that have answered
        self._passes_on = upload is not None and self.codec == codecs.create(upload)
        self._timeout_s = 3600.0
        self._attending: set[int] = set()  # nodes that have answered everything so far in this round
        self._asked: list[Message] = []  # messages of the running exchange
        self._sent: dict[int, set[int]] = {}  # node -> numbers of the shared clips that it was sent last
        self._confirmed: dict[int, set[int]] = {}  # node -> numbers of the shared clips that it has for certain
        self._model = ArrayRecord()  # what this round's training started from

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
        """As in Flower. ``timeout`` (seconds) also bounds the collection of captures and every message's life."""
        self._timeout_s = timeout
        self.meter.start_model = initial_arrays
        return super().start(grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Collect captures, encode them, and put payloads into the inner strategy's messages."""
        self.ledger.flush()
        captures = self._collect(server_round, grid)
        self._encode(server_round, captures)
        if len(self._attending) < self.min_devices:
            log.warning(
                "round %d is skipped: %d answered, min_devices is %d",
                server_round,
                len(self._attending),
                self.min_devices,
            )
            self._attending.clear()
        self._model = arrays
        messages = self.inner.configure_train(server_round, arrays, config, grid) if self._attending else []
        self._asked = [
            self._training_message(server_round, message)
            for message in messages
            if message.metadata.dst_node_id in self._attending
        ]
        return self._asked

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Keep the usable answers, remember what has been received, and let the inner strategy aggregate."""
        usable = self._usable(server_round, replies)
        for reply in usable:
            device = self._name(reply.metadata.src_node_id)
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
        self._asked = [
            self._evaluation_message(message) for message in messages if message.metadata.dst_node_id in self._attending
        ]
        for message in self._asked:
            message.metadata.ttl = self._timeout_s
            self.meter.asked(server_round, self._name(message.metadata.dst_node_id), message, ())
        return self._asked

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Keep the usable answers and let the inner strategy average them."""
        usable = self._usable(server_round, replies)
        for reply in usable:
            metrics = check_metrics(reply.content)
            self.evaluated.append(Measured(server_round, self._name(reply.metadata.src_node_id), metrics))
        self.ledger.flush()
        return self.inner.aggregate_evaluate(server_round, usable)

    def _collect(self, server_round: int, grid: Grid) -> list[tuple[int, Capture, Clip]]:
        """Every capture that can be decoded, with its node, in order of the devices' names."""
        content = query_content(server_round, self.upload)
        queries = [
            Message(content, dst_node_id=node, message_type=MessageType.QUERY, ttl=self._timeout_s)
            for node in self._wait_for_devices(grid)
        ]
        for query in queries:
            self.meter.asked(server_round, self._name(query.metadata.dst_node_id), query, ())
        answers, lost = sort_replies(queries, grid.send_and_receive(queries, timeout=self._timeout_s))
        self._attending = set()
        found: list[tuple[int, Capture, Clip]] = []
        for node, reply in answers.items():
            try:
                device, captures = read_captures(reply.content)
                if self.names.get(node, device) != device or device in (n for k, n in self.names.items() if k != node):
                    raise DataError(f"the device calls itself {device!r}, which is not its name or another's")
            except DataError as error:
                lost.append(Lost(node, "malformed", str(error)))
                continue
            self.names[node] = device
            self._attending.add(node)
            self.meter.answered(server_round, device, reply, [(c.clip, c.data) for c in captures])
            for capture in captures:
                try:
                    found.append((node, capture, decode(capture.data, device=self.device, name=capture.clip)))
                except RinrError as error:
                    lost.append(Lost(node, "malformed", f"clip {capture.clip!r}: {error}"))
        self._note(server_round, lost)
        return sorted(found, key=lambda item: (item[1].device, item[1].clip))

    def _encode(self, server_round: int, found: list[tuple[int, Capture, Clip]]) -> None:
        """One batched fit over all clips of the round."""
        if not found:
            return
        start = time.perf_counter()
        if self._passes_on:
            payloads = [capture.data for _, capture, _ in found]
        else:
            payloads = self.codec.encode_many(
                [clip for _, _, clip in found],
                seed=self.seed,
                device=self.device,
                progress=None if self.progress is None else partial(self.progress, f"round {server_round}: encoding"),
            )
        seconds = time.perf_counter() - start
        pixels = [clip.width * clip.height * len(clip) for _, _, clip in found]
        for (node, capture, _), payload, count in zip(found, payloads, pixels, strict=True):
            self.shared.append(Shared(server_round, node, capture, payload, seconds * count / sum(pixels)))
        uploaded, encoded = sum(len(c.data) for _, c, _ in found), sum(map(len, payloads))
        log.info("round %d: %d clips, %d bytes uploaded, %d to share", server_round, len(found), uploaded, encoded)

    def _training_message(self, server_round: int, message: Message) -> Message:
        """The inner strategy's message with every payload of other devices that its receiver has not confirmed."""
        node = message.metadata.dst_node_id
        confirmed = self._confirmed.get(node, set())
        numbers = [i for i, item in enumerate(self.shared) if item.node != node and i not in confirmed]
        self._sent[node] = set(numbers)
        items = [self.shared[i] for i in numbers]
        content = RecordDict({**message.content, PAYLOADS: payloads_record([item.payload for item in items])})
        message = Message(content, dst_node_id=node, message_type=message.metadata.message_type, ttl=self._timeout_s)
        clips = [(item.capture.device, item.capture.clip, item.payload) for item in items]
        self.meter.asked(server_round, self._name(node), message, clips)
        return message

    def _usable(self, server_round: int, replies: Iterable[Message]) -> list[Message]:
        """Answers to this exchange that are sound; the others become failures, and their devices sit out."""
        answers, lost = sort_replies(self._asked, replies)
        usable = []
        for node, reply in answers.items():
            self.meter.answered(server_round, self._name(node), reply, ())
            try:
                self._check(reply)
            except RinrError as error:
                lost.append(Lost(node, "malformed", str(error)))
                continue
            self._received(node)
            usable.append(reply)
        self._attending -= {item.node for item in lost}
        self._note(server_round, lost)
        self._asked = []
        return sorted(usable, key=lambda reply: self.names[reply.metadata.src_node_id])

    def _evaluation_message(self, message: Message) -> Message:
        """What the inner strategy's evaluation message becomes on its way."""
        return message

    def _check(self, reply: Message) -> None:
        """RinrError unless the answer can be used."""
        check_metrics(reply.content)
        for arrays in reply.content.array_records.values() if self._model else ():
            check_model(arrays, self._model)

    def _received(self, node: int) -> None:
        """The node has answered: what it was sent last has arrived."""
        self._confirmed.setdefault(node, set()).update(self._sent.pop(node, ()))

    def _wait_for_devices(self, grid: Grid) -> list[int]:
        """Ids of the connected nodes, as soon as there are ``min_devices``, or when the time is up."""
        end = time.monotonic() + self._timeout_s
        while len(nodes := sorted(grid.get_node_ids())) < self.min_devices and time.monotonic() < end:
            time.sleep(0.2)
        return nodes

    def _note(self, server_round: int, lost: Iterable[Lost]) -> None:
        for item in lost:
            failure = FailureRecord(server_round, self._name(item.node), item.kind, item.reason)
            self.failures.append(failure)
            log.warning("round %d: %s is left out (%s): %s", server_round, failure.device, item.kind, item.reason)

    def _name(self, node: int) -> str:
        return self.names.get(node, f"node {node}")
