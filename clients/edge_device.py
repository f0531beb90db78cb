"""The edge device as a Flower ClientApp."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from rinr_flower.clients.common_model import holding, take_common_model, update_of
from rinr_flower.clients.device import EdgeDevice
from rinr_flower.detection import State
from rinr_flower.errors import DataError
from rinr_flower.strategies.protocol import (
    ARRAYS,
    COMPRESSOR,
    CONFIG,
    METRICS,
    NUM_EXAMPLES,
    RETURN_MODEL,
    SERVER_ROUND,
    TRAIN_HERE,
    UPDATES,
    captures_content,
    payloads_record,
    read_payloads,
    read_query,
)
from rinr_flower.strategies.training import Training

MODEL = "model"  # ArrayRecord in Context.state: the device's own model
RECEIVED = "received"  # ConfigRecord in Context.state: payloads of other devices


def client_app(open_device: Callable[[Context], EdgeDevice], *, threads: int | None = None) -> ClientApp:
    """A ClientApp that shares captures, trains on what it receives or takes over updates, and evaluates.

    Model, model in common, error feedback and received payloads stay in ``Context.state`` between messages.

    Parameters
    ----------
    open_device : gives the device behind a context: the one place that knows where a node's frames are.
    threads : CPU threads of a message's work; None leaves torch's own choice.
    """
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        server_round, upload = read_query(message.content)
        device = open_device(context)
        return Message(captures_content(device.name, device.upload(server_round, upload)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        _limit(threads)
        config = message.content.config_records[CONFIG]
        common = _common(message, context)
        if not config.get(TRAIN_HERE, True):
            if common is None:
                raise DataError("the fog asks for no training and sends no model updates; there is nothing to do")
            content = RecordDict({METRICS: MetricRecord({NUM_EXAMPLES: 1}), UPDATES: holding(common)})
            return Message(content, reply_to=message)
        received = _received(context)
        received += [payload for payload in read_payloads(message.content) if payload not in received]
        device, server_round = open_device(context), int(str(config[SERVER_ROUND]))
        model, log, frames = device.train(server_round, received, _model(message, context), Training.of_config(config))
        arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
        context.state[RECEIVED] = payloads_record(received)
        metrics = MetricRecord(
            {
                NUM_EXAMPLES: frames,
                "loss": log.losses[-1],
                "render-seconds": log.seconds_rendering,
                "train-seconds": log.seconds_training,
            }
        )
        content = RecordDict({METRICS: metrics})
        compressor = config.get(COMPRESSOR)
        if common is not None and compressor is not None:  # the model in common stays the device's model
            source = f"{device.name} {server_round}"
            content[UPDATES] = update_of(common, model, json.loads(str(compressor)), context, source=source)
        else:
            context.state[MODEL] = arrays
            if common is not None:
                content[UPDATES] = holding(common)
        if config.get(RETURN_MODEL, True):
            content[ARRAYS] = arrays
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        _limit(threads)
        training = Training.of_config(message.content.config_records[CONFIG])
        common = _common(message, context)
        accuracy = open_device(context).evaluate(_model(message, context), training)
        metrics = MetricRecord({NUM_EXAMPLES: accuracy.images, "map50": accuracy.map50, "map50-95": accuracy.map50_95})
        content = RecordDict({METRICS: metrics})
        if common is not None:
            content[UPDATES] = holding(common)
        return Message(content, reply_to=message)

    return app


def _common(message: Message, context: Context) -> ArrayRecord | None:
    """The model in common after the message's updates, which becomes the device's own; None if it is not about that."""
    common = take_common_model(message, context)
    if common is not None:
        context.state[MODEL] = common
    return common


def _model(message: Message, context: Context) -> State | None:
    """The model that the message brings, else the device's own, else none. Updates have been applied to the latter."""
    brought = None if UPDATES in message.content.config_records else message.content.array_records.get(ARRAYS)
    for record in (brought, context.state.array_records.get(MODEL)):
        if record:
            return {name: array.numpy() for name, array in record.items()}
    return None


def _received(context: Context) -> list[bytes]:
    record = context.state.config_records.get(RECEIVED, ConfigRecord())
    return list(record.get("payloads", []))  # type: ignore[arg-type]


def _limit(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
