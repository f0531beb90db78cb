"""The fog node: collect captures once, encode them, send every device the payloads of the others."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from logging import getLogger
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from rinr_flower.bandwidth import FOG, Ledger
from rinr_flower.codecs import Codec, codecs
from rinr_flower.devices import pick_device
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.identity import FogIdentity
from rinr_flower.messages.protocol import ARRAYS, check_model, check_numbers, numbers_of, query_content
from rinr_flower.messages.records import record_of, refill
from rinr_flower.messages.training import CLASS_NAMES, Training
from rinr_flower.strategies.collecting import Collected, read_answers
from rinr_flower.strategies.encode_once import encode_once
from rinr_flower.strategies.encoding import Encoder, local_encoder
from rinr_flower.strategies.exchange import Exchange
from rinr_flower.strategies.grids import StreamedGrid
from rinr_flower.strategies.inner import as_types, check_inner, needs_model, nodes_needed, settings
from rinr_flower.strategies.keeping import Captured, InMemory, Keep
from rinr_flower.strategies.limits import CaptureLimits
from rinr_flower.strategies.local_training import LocalTraining
from rinr_flower.strategies.memory import FogMemory, Shared
from rinr_flower.strategies.metering import Meter
from rinr_flower.strategies.options import codec_spec, instance, number, whole
from rinr_flower.strategies.payload_sharing import PayloadSharing
from rinr_flower.strategies.policy import Outgoing, Policy, Progress, Round
from rinr_flower.strategies.relay import Relay
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
    upload : codec that the devices upload with, given alike; a codec's options must be JSON values, because devices are
        told them. ``jpeg`` uploads the camera's own files, None leaves captures where they are.
    min_devices : the fog waits for so many devices; a round with fewer answers is skipped. It waits for the minimum of
        nodes that the inner strategy asks for, too.
    fraction_query : share of the connected nodes that take part in a round, drawn by ``seed``; the others upload
        nothing. The inner strategy samples from those that have answered and, where it waits for more nodes, from as
        many others as it lacks; those are not asked.
    seed : of the encoder, where round and order of the captures do not change it; and of who is drawn in a round, by
        ``fraction_query`` and by the inner strategy, if that draws from the module ``random`` as Flower's do.
    device : torch device that the fog encodes on; ``auto`` takes an accelerator if there is one.
    encoder : decodes and encodes what is uploaded, see ``encoding``. None takes a worker process per CPU core, so that
        bytes which crash a decoder cost their clip alone; ``encode_here`` works in this process.
    ledger : takes every message; None opens that of ``keep``, or begins a new one.
    keep : where captures, payloads and the state after every round are kept, so that a run can be resumed. None keeps
        them in memory: a run that is killed is lost.
    identity : signs what is sent and checks who answers; None believes every answer.
    limits : how much one device may upload in a round; a device that passes them sits the round out.
    policy : what devices are sent beside the inner strategy's messages; by default all payloads of the others.
    timeout : seconds that bound every exchange and every message's life. :meth:`start` sets it too.
    progress : called while the fog waits for devices, encodes, and waits for answers; what it raises ends the run.

    Attributes
    ----------
    memory : the state after the last round: devices, results, and the lists that follow.
    shared : every clip shared so far.
    failures : every failure so far.
    trained, evaluated : metrics of every device so far.
    start_model : the model that the first round began with, and its coded form; None before.
    arrays : the present model.
    """

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec = "scene",
        *,
        inner: Strategy | None = None,
        upload: str | Mapping[str, Any] | Codec | None = "jpeg",
        min_devices: int = 1,
        fraction_query: float = 1.0,
        seed: int = 0,
        device: torch.device | str = "cpu",
        encoder: Encoder | None = None,
        ledger: Ledger | None = None,
        keep: Keep | None = None,
        identity: FogIdentity | None = None,
        limits: CaptureLimits = DEFAULT_LIMITS,
        policy: Policy | None = None,
        timeout: float = 3600,
        progress: Progress | None = None,
    ) -> None:
        for name, value, kind in (
            ("ledger", ledger, Ledger),
            ("identity", identity, FogIdentity),
            ("policy", policy, Policy),
        ):
            instance(name, value, kind, optional=True)
        instance("limits", limits, CaptureLimits)
        if keep is not None and not hasattr(keep, "save_round"):
            raise ConfigError(
                f"keep is {str(keep)!r}; give RunFolder.create({str(keep)!r}), or RunFolder(...) to resume"
            )
        self.codec = codec if isinstance(codec, Codec) else codecs.create(codec)
        self.inner = LocalTraining() if inner is None else inner
        check_inner(self.inner)
        self.inner_settings = settings(self.inner)
        self.upload = None if upload is None else codec_spec("upload", upload)
        self.min_devices = whole("min_devices", min_devices, least=1)
        self.fraction_query = number("fraction_query", fraction_query, lambda x: 0 < x <= 1, "above 0 and at most 1")
        self.seed = whole("seed", seed)
        self.device = str(pick_device(str(device)))
        self.encoder = local_encoder() if encoder is None else encoder
        self.keep = InMemory() if keep is None else keep
        if ledger is None:
            ledger = Ledger() if self.keep.ledger is None else Ledger.open(self.keep.ledger)
        self.ledger = ledger
        self.meter = Meter(self.ledger)
        self.exchange = Exchange(self.keep.job, identity, self.meter, _seconds(timeout))
        self.limits = limits
        self.policy = PayloadSharing() if policy is None else policy
        self.progress = progress
        self.memory = FogMemory()
        self.shared, self.failures = self.memory.shared, self.memory.failures
        self.trained, self.evaluated = self.memory.trained, self.memory.evaluated
        self.relay = Relay(self.inner, self.policy, self.exchange, self.memory, seed=self.seed)
        self.start_model: StartModel | None = None
        self.arrays = ArrayRecord()
        self.round: Round | None = None  # None before its captures are encoded, and if it is skipped
        self._given: ArrayRecord | None = None  # what the loop over rounds began with
        self._open: tuple[int, float] | None = None  # number of the round that is not finished yet, and when it began
        self._started = self._driven = self._recalled = False  # driven: by this class's own start

    def summary(self) -> None:
        log.info("\t├──> Sharing: %s uploaded as %s", self.codec, self.upload)
        log.info("\t├──> %s", self.policy.summary())
        log.info("\t├──> At least %d devices in a round, %g of all asked", self.min_devices, self.fraction_query)
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
            If what was kept is of a strategy with other settings, if ``num_rounds`` are done already, or if the inner
            strategy needs ``initial_arrays`` that are not given.
        """
        instance("initial_arrays", initial_arrays, ArrayRecord)
        num_rounds = whole("num_rounds", num_rounds)
        self.exchange.timeout_s = _seconds(timeout)
        done = self.recall()
        if num_rounds < done or (self._started and num_rounds == done):
            raise ConfigError(
                f"num_rounds is {num_rounds}, and {done} rounds are done; it counts from the first round: give "
                f"{done + 1} for one more, or begin a new run with a new strategy (and a new keep)"
            )
        self._started = self._driven = True
        self._set_up(initial_arrays, train_config or ConfigRecord())
        assert self.start_model is not None
        try:
            result = super().start(
                StreamedGrid(grid, self.progress),
                self.start_model.arrays,
                num_rounds,
                timeout,
                train_config,
                evaluate_config,
                None if evaluate_fn is None else partial(self._evaluate, evaluate_fn, done),
            )
        finally:
            self._driven = False
        if num_rounds > 0 and not self.trained:
            why = "; ".join(f"{item.device}: {item.reason}" for item in self.failures[:3])
            log.error("NO DEVICE HAS TRAINED in %d rounds (%d failures: %s)", num_rounds, len(self.failures), why)
        return result

    @property
    def at_start(self) -> bool:
        """Whether the present model is still that of the first round."""
        return self.start_model is not None and self.arrays is self.start_model.arrays

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
        done = self.recall()
        self._set_up(arrays, config)
        if server_round <= done:
            return []
        self._take(arrays)
        self._open = server_round, time.monotonic()
        self.encode(server_round, self.collect(server_round, grid))
        if self._skips(server_round, grid):
            return []
        config = self._completed(config)
        training = Training.of_config(config)
        self.round = Round(server_round, self.relay.names(), training, self.memory, self.device, self.progress)
        self.policy.prepare(self.round)
        config = self.policy.train_config(config)
        content = partial(self.content, self.round)
        return self.relay.questions(server_round, MessageType.TRAIN, self.arrays, config, grid, content)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Keep the usable answers, remember what has been received, and let the inner strategy aggregate."""
        if server_round <= self.memory.rounds:
            resumed = server_round == self.memory.rounds and self._driven and not self.at_start
            return self.arrays if resumed else None, self.memory.result(server_round, "train")
        usable = self.relay.answers(server_round, MessageType.TRAIN, replies, self.arrays, self.trained)
        if self.round is None:
            return None, None
        models = usable[0].content.array_records.get(ARRAYS, ArrayRecord()) if usable else ArrayRecord()
        types = {name: array.dtype for name, array in models.items()}  # some strategies empty the record
        arrays, metrics = self.relay.aggregated(self.inner.aggregate_train, server_round, usable) or (None, None)
        if arrays is not None:
            arrays = self._checked(server_round, as_types(arrays, types))
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
        if self.exchange.open:  # a strategy around this one has kept all answers to itself
            asked = self.relay.end(server_round, MessageType.TRAIN)
            what = f"the strategy around this one discarded the answers of all {len(asked)} devices"
            self.memory.fail(server_round, FOG, "error", what)
        if self.round is None or not self.relay.attending:
            return []
        config = self._completed(config)

        def content(device: str, inner: RecordDict) -> Outgoing:
            return Outgoing(self.policy.evaluate_content(device, inner))

        return self.relay.questions(server_round, MessageType.EVALUATE, self.arrays, config, grid, content)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Keep the usable answers, let the inner strategy average them, and finish the round."""
        if server_round <= self.memory.rounds:
            return self.memory.result(server_round, "evaluate")
        usable = self.relay.answers(server_round, MessageType.EVALUATE, replies, self.arrays, self.evaluated)
        metrics = self.relay.aggregated(self.inner.aggregate_evaluate, server_round, usable)
        self.memory.note_result(server_round, "evaluate", metrics)
        self._finish()
        return metrics

    # Steps of a round that a subclass may override.

    def wait(self, grid: Grid) -> list[int]:
        """Ids of the connected nodes, as soon as this and the inner strategy have enough, or the time is up."""
        what = f"round {self.memory.rounds + 1}: waiting for devices"
        least, end = self._least(), time.monotonic() + self.exchange.timeout_s
        waited = False
        while len(nodes := sorted(grid.get_node_ids())) < least and time.monotonic() < end:
            waited = True
            if self.progress is not None:
                self.progress(what, len(nodes) / least)
            time.sleep(0.2)
        if waited and self.progress is not None:
            self.progress(what, 1.0)
        return nodes

    def collect(self, server_round: int, grid: Grid) -> Iterator[Captured]:
        """Ask the round's devices, and yield their captures as they come; :meth:`encode` must take all of them."""
        nodes = self.wait(grid)
        if self.fraction_query < 1:
            count = min(len(nodes), max(self._least(), math.ceil(self.fraction_query * len(nodes))))
            nodes = sorted(random.Random(f"{self.seed} {server_round}").sample(nodes, count))
        self.relay.attending.clear()
        self.exchange.begin(server_round)
        content = query_content(server_round, self.upload)
        questions = (self.exchange.question(node, MessageType.QUERY, content) for node in nodes)
        stream = grid if isinstance(grid, StreamedGrid) else StreamedGrid(grid, self.progress)
        answers = self.exchange.answers(stream.send_and_receive(questions, timeout=self.exchange.timeout_s))
        came = Collected()
        relay = self.relay
        yield from read_answers(answers, server_round, self.exchange, self.keep, self.limits, relay.greet, came)
        self.relay.note(server_round, came.lost)
        self.relay.end(server_round, MessageType.QUERY)
        self.relay.attending = came.nodes

    def encode(self, server_round: int, captures: Iterable[Captured]) -> None:
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
        for item in made:
            capture = item.capture
            if item.by_codec:
                reason = f"clip {capture.clip!r} of {capture.device} cannot be encoded: {item.reason}"
                self.memory.fail(server_round, FOG, "error", reason)
                continue
            if item.payload is None:
                self.memory.fail(server_round, capture.device, "malformed", f"clip {capture.clip!r}: {item.reason}")
                continue
            about = server_round, capture.device, capture.clip, capture.camera_bytes
            self.shared.append(Shared(*about, capture.upload, item.payload, item.seconds))
        if not self.memory.class_names:
            shared = (item.capture for item in made if item.payload is not None)
            self.memory.class_names = tuple(dict.fromkeys(name for capture in shared for name in capture.class_names))
        uploaded = sum(item.capture.upload.size for item in made)
        encoded = [item.payload.size for item in made if item.payload is not None]
        log.info("round %d: %d clips, %d bytes uploaded, %d to share", server_round, len(made), uploaded, sum(encoded))

    def content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        """Content of the training message to a device, made from that of the inner strategy's message."""
        return self.policy.train_content(fog_round, device, content)

    # What the steps above have in common.

    def _set_up(self, arrays: ArrayRecord, config: ConfigRecord) -> None:
        """Begin the run with ``arrays``, or bring them up to date with the model of the run that is resumed."""
        common = self.policy.common
        if common is not None and not self._driven:
            raise ConfigError(
                f"{type(self).__name__} keeps one model in common with its devices, which no strategy around it may "
                "change; put that strategy inside: inner=THAT_STRATEGY(FedAvg(), ...)"
            )
        training = Training.of_config(config)
        if common is not None and CLASS_NAMES not in config:
            raise ConfigError(
                f"{type(self).__name__} and its devices hold one model, whose classes train_config must name: "
                f"train_config=ConfigRecord({{{CLASS_NAMES!r}: ['car', ...]}})"
            )
        if self.start_model is None:
            needs = needs_model(self.inner)
            if not arrays and common is None and needs and CLASS_NAMES not in config:
                raise ConfigError(
                    f"initial_arrays are empty, and {needs} computes with the model of the round before; give "
                    "initial_arrays, or name the classes, and the fog begins with first weights: "
                    f"train_config=ConfigRecord({{{CLASS_NAMES!r}: ['car', ...]}})"
                )
            if not arrays and (common is not None or needs):
                arrays = record_of(training.build().state())
            self.start_model = StartModel.of(arrays)
            self.arrays = self.start_model.arrays
            if common is not None:
                common.begin(self.start_model)
            save(self, 0, 0.0)
        if self._driven:
            self._given = self.start_model.arrays
        elif self._given is None:
            self._given = arrays
            refill(arrays, self.arrays)  # a strategy around this one has taken it for the present model
        self.meter.start_model = self.relay.start = self.start_model

    def _take(self, arrays: ArrayRecord) -> None:
        """Go on with ``arrays`` if they are newer than what the loop over rounds began with."""
        if arrays is not self._given:
            self.arrays = arrays

    def _checked(self, server_round: int, arrays: ArrayRecord) -> ArrayRecord | None:
        """A model that the inner strategy has made; None if devices could not use it, which is noted."""
        try:
            if self.arrays:
                check_model(arrays, self.arrays)
            else:
                for name, array in arrays.items():
                    check_numbers(name, numbers_of(name, array))
        except DataError as error:
            reason = f"the model of {type(self.inner).__name__} is not used: {error}"
            self.memory.fail(server_round, FOG, "error", reason)
            return None
        return arrays

    def _least(self) -> int:
        """Number of nodes without which there is no round."""
        return max(self.min_devices, nodes_needed(self.inner, MessageType.TRAIN)[0])

    def _skips(self, server_round: int, grid: Grid) -> bool:
        """Whether too few devices attend the round; then that is a failure, and what they uploaded is shared later."""
        needed, option = nodes_needed(self.inner, MessageType.TRAIN)
        attending, connected = len(self.relay.attending), len(list(grid.get_node_ids()))
        if attending < self.min_devices:
            reason = f"{attending} devices answered, min_devices is {self.min_devices}"
        elif connected < needed:
            reason = f"{connected} nodes are connected, {option} of {type(self.inner).__name__} is {needed}"
        else:
            return False
        self.memory.fail(server_round, FOG, "skipped", reason)
        self.relay.attending.clear()
        return True

    def _completed(self, config: ConfigRecord) -> ConfigRecord:
        """The configuration, with the classes of the captures if it names none and devices have their own models."""
        if CLASS_NAMES in config or not self.memory.class_names or self.policy.common is not None:
            return config
        return ConfigRecord({**config, CLASS_NAMES: list(self.memory.class_names)})

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


def _seconds(timeout: float) -> float:
    return number("timeout", timeout, lambda x: x > 0, "of seconds above 0")
