"""The edge device as a Flower ClientApp."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import Mod

from rinr_flower.array_file import Arrays
from rinr_flower.bitstream.container import Payload
from rinr_flower.clients.common_model import holding, memory_of, take_common_model, update_of
from rinr_flower.clients.device_state import Held, JobState
from rinr_flower.clients.edge_device import EdgeDevice, TrainingStep, fit
from rinr_flower.clients.incoming import model_of
from rinr_flower.clients.own_frames import CapturedFrames
from rinr_flower.detection import Architecture, architecture
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import name_of
from rinr_flower.messages.coded_model import open_model
from rinr_flower.messages.protocol import (
    ARRAYS,
    COMPRESSOR,
    CONFIG,
    JOB,
    METRICS,
    NUM_EXAMPLES,
    PAYLOADS,
    RETURN_MODEL,
    SERVER_ROUND,
    TRAIN_HERE,
    UPDATES,
    captures_content,
    read_payloads,
    read_query,
)
from rinr_flower.messages.records import record_of
from rinr_flower.messages.training import CLASS_NAMES, Training
from rinr_flower.rendering.opened import OPENED
from rinr_flower.updates import updates

# What a device keeps in arrays:
MODEL = "model"  # its own model
COMMON = "common-model"  # the model in common
RESIDUAL = "update-residual"  # what updates to the fog still owe
BASIS = "update-basis"  # the compressor's own state

MAX_ROUND = 10**9


def client_app(
    open_device: Callable[[Context], EdgeDevice],
    *,
    threads: int | None = None,
    opened_bytes: int = 0,
    mods: Sequence[Mod] = (),
    detector: str | Mapping[str, Any] | Architecture | None = None,
    train: TrainingStep = fit,
) -> ClientApp:
    """A ClientApp that shares captures, trains on what it receives or takes over updates, and evaluates.

    Model, model in common, error feedback and received payloads stay in the device's state on its disk. A message that
    comes twice gives the same answer twice.

    Parameters
    ----------
    open_device : gives the device behind a context: the one place that knows where a node's frames and state are.
    threads : CPU threads of a message's work; None leaves torch's own choice.
    opened_bytes : memory in which payloads stay open for the next message, and for the next device where a process
        simulates several, see :mod:`rinr_flower.rendering.opened`.
    mods : Flower mods around training, the first outermost, as in ``@app.train(mods=...)``. They see the message as
        Flower's strategies make it, with one ArrayRecord and one ConfigRecord; signatures are checked before and made
        after them.
    detector : architecture of this device's detector, in the place of the one that the fog asks for.
    train : trains a detector on the frames of a store in a round, in the place of ``Training.fit``.

    Raises
    ------
    ConfigError
        If an argument is none of these.
    """
    for name, good, value, wanted in (
        ("open_device", callable(open_device), open_device, "a function"),
        ("threads", threads is None or _whole(threads, 1), threads, "a whole number from 1, or None"),
        ("opened_bytes", _whole(opened_bytes, 0), opened_bytes, "a whole number from 0"),
        ("mods", isinstance(mods, Sequence) and all(map(callable, mods)), mods, "a sequence of Flower mods"),
        ("train", callable(train), train, "a function"),
    ):
        if not good:
            raise ConfigError(f"client_app's {name} is {value!r}; it must be {wanted}")
    if detector is not None:
        architecture(detector)
    app = ClientApp()
    training = partial(_train, detector=detector, step=train)
    evaluation = partial(_evaluate, detector=detector)

    @app.query()
    def query(message: Message, context: Context) -> Message:
        return _answered(message, context, open_device(context), _query)

    @app.train()
    def train_(message: Message, context: Context) -> Message:
        _limit(threads, opened_bytes)
        return _answered(message, context, open_device(context), training, mods)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        _limit(threads, opened_bytes)
        return _answered(message, context, open_device(context), evaluation)

    return app


@dataclass(frozen=True)
class _Task:
    """One message of the fog, and what is needed to do what it asks.

    Attributes
    ----------
    device, content : who is asked what; the content has been checked for its signature.
    round, kind : of the message.
    job : the device's state in the message's job.
    held : what the device held before the message; nothing in a job that it does not remember.
    own : the device's frames in that job.
    """

    device: EdgeDevice
    content: RecordDict
    round: int
    kind: str
    job: JobState
    held: Held | None
    own: CapturedFrames

    @property
    def config(self) -> ConfigRecord:
        return self.content.config_records[CONFIG]

    def brought_model(self) -> Arrays | None:
        """The model that the message brings to train or evaluate; with updates it is only what these start from."""
        arrays = self.content.array_records.get(ARRAYS)
        return model_of(arrays) if arrays and UPDATES not in self.content else None

    def arrays(self) -> tuple[dict[str, Arrays], Arrays | None]:
        """All arrays held after the message's updates, and the model in common if the message is about it."""
        arrays = {} if self.held is None else dict(self.held.arrays)
        common = take_common_model(self.content, arrays.get(COMMON))
        if common is not None:
            arrays |= {MODEL: common, COMMON: common}
        return arrays, common


def _answered(
    message: Message,
    context: Context,
    device: EdgeDevice,
    work: Callable[[_Task], RecordDict],
    mods: Sequence[Mod] = (),
) -> Message:
    """Check who asks, do the work inside the mods, and sign the answer."""
    asked, kind = message.content, message.metadata.message_type
    content = asked if device.identity is None else device.identity.open(asked, kind=kind, node=context.node_id)
    hidden = {name: content[name] for name in (PAYLOADS, UPDATES) if name in content}
    shown = copy(message)  # the caller's message stays as it came
    shown.content = RecordDict({name: record for name, record in content.items() if name not in hidden})
    if (model := content.array_records.get(ARRAYS)) is not None:
        shown.content[ARRAYS] = open_model(model)

    def answer(message: Message, context: Context) -> Message:
        task_content = RecordDict({**message.content, **hidden})
        config = task_content.config_records.get(CONFIG)
        if config is None:
            raise DataError(f"the message has no ConfigRecord {CONFIG!r}; it has {sorted(task_content)}")
        server_round = config.get(SERVER_ROUND)
        if type(server_round) is not int or not 0 <= server_round <= MAX_ROUND:
            raise DataError(f"{SERVER_ROUND!r} is {str(server_round)[:40]!r}; it must be a number in 0..{MAX_ROUND}")
        with device.state.job(str(config.get(JOB, f"run-{context.run_id}"))) as job:
            held = job.before(server_round, kind)
            own = device.frames.in_job(job.captures)
            return Message(work(_Task(device, task_content, server_round, kind, job, held, own)), reply_to=message)

    for mod in reversed(mods):
        answer = partial(_modified, mod, answer)
    reply = answer(shown, context)
    if device.identity is not None and reply.has_content():
        reply.content = device.identity.seal(reply.content, question=asked)
    return reply


def _modified(mod: Mod, inner: Callable[[Message, Context], Message], message: Message, context: Context) -> Message:
    return mod(message, context, inner)


def _query(task: _Task) -> RecordDict:
    server_round, upload = read_query(task.content)
    captures = [] if upload is None else task.device.upload(task.own.captures(server_round), upload)
    return captures_content(task.device.name, captures, task.job.holds(task.held), coded_models=True)


def _train(task: _Task, *, detector: str | Mapping[str, Any] | Architecture | None, step: TrainingStep) -> RecordDict:
    arrays, common = task.arrays()
    held = task.held or Held()
    if not task.config.get(TRAIN_HERE, True):
        if common is None:
            raise DataError("the fog asks for no training and sends no model updates; there is nothing to do")
        task.job.finish(task.round, task.kind, replace(held, arrays=arrays))
        return RecordDict({METRICS: MetricRecord({NUM_EXAMPLES: 1}), UPDATES: holding(common)})
    training = _settings(task, detector)
    model = task.brought_model() or arrays.get(MODEL) or training.build(task.device.device).state()
    incoming = {name_of(payload): payload for payload in read_payloads(task.content)}
    array_bytes = Held({**arrays, MODEL: model}).array_bytes
    held, received = _received(task.job, held, task.round, incoming, array_bytes)
    own = task.own.captured_until(task.round)
    trained = task.device.train(task.round, own, received, model, training, step)
    held = held.without(trained.refused)

    metrics: dict[str, int | float] = {
        NUM_EXAMPLES: trained.frames,
        "train_loss": sum(trained.log.losses) / len(trained.log.losses),
        "render-seconds": trained.log.seconds_rendering,
        "train-seconds": trained.log.seconds_training,
        "refused-payloads": len(trained.refused),
    }
    content = RecordDict({METRICS: MetricRecord({**metrics})})
    compressor = task.config.get(COMPRESSOR)
    if common is not None and compressor is not None:  # the model in common stays the device's model
        memory = memory_of(arrays.get(RESIDUAL, {}), arrays.get(BASIS, {}))
        made, source = updates.create(json.loads(str(compressor))), f"{task.device.name} {task.round}"
        content[UPDATES] = update_of(common, trained.model, made, memory, source=source)
        arrays |= {RESIDUAL: memory.residual, BASIS: memory.basis}
    else:
        arrays[MODEL] = trained.model
        if common is not None:
            content[UPDATES] = holding(common)
    kept = set(held.kept)
    new = [payload for name, payload in incoming.items() if name in kept]
    task.job.finish(task.round, task.kind, replace(held, arrays=arrays, detector=training.describe()), new)
    if task.config.get(RETURN_MODEL, True):
        content[ARRAYS] = record_of(trained.model)
    return content


def _evaluate(task: _Task, *, detector: str | Mapping[str, Any] | Architecture | None) -> RecordDict:
    arrays, common = task.arrays()
    model = task.brought_model() or arrays.get(MODEL)
    accuracy = task.device.evaluate(task.own.held_back(), model, _settings(task, detector))
    if not accuracy.boxes:
        raise DataError(f"none of the {accuracy.images} frames held back has a box; hold back frames with objects")
    metrics = MetricRecord({NUM_EXAMPLES: accuracy.images, "map50": accuracy.map50, "map50-95": accuracy.map50_95})
    content = RecordDict({METRICS: metrics})
    if common is not None:
        task.job.finish(task.round, task.kind, replace(task.held or Held(), arrays=arrays))
        content[UPDATES] = holding(common)
    return content


def _settings(task: _Task, detector: str | Mapping[str, Any] | Architecture | None) -> Training:
    """The training that a message asks for: with this device's own detector and classes where it says nothing else."""
    training = Training.of_config(task.config)
    if CLASS_NAMES not in task.config:
        own = [name for clip in task.own.held_back() for name in Payload.from_bytes(clip.data).class_names]
        training = replace(training, class_names=tuple(dict.fromkeys(own)) or training.class_names)
    return training if detector is None else replace(training, detector=detector)


def _received(
    job: JobState, held: Held, server_round: int, incoming: Mapping[str, bytes], array_bytes: int
) -> tuple[Held, dict[str, bytes]]:
    """What the device holds with the payloads of a message, and all payloads that it trains on, by name.

    Which old payloads give way to new ones is settled before training, from the message and what was held before it, so
    that a repeated message trains on the same frames.
    """
    sizes = {name: len(payload) for name, payload in incoming.items()}
    after = held.with_received(server_round, sizes).fitting(job.budget, array_bytes)
    received = job.payloads(replace(held, let_go=after.let_go))
    kept = after.kept
    received |= {name: payload for name, payload in incoming.items() if name in set(kept) - set(received)}
    return after.without(set(kept) - set(received)), received


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _limit(threads: int | None, opened_bytes: int) -> None:
    OPENED.keep(opened_bytes)
    if threads is not None:
        torch.set_num_threads(threads)
