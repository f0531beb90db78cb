"""The edge device as a Flower ClientApp."""

from __future__ import annotations

from collections.abc import Callable

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from rinr_flower.clients.device import EdgeDevice, Training
from rinr_flower.detection import State
from rinr_flower.strategies.protocol import (
    ARRAYS,
    CONFIG,
    METRICS,
    NUM_EXAMPLES,
    RETURN_MODEL,
    SERVER_ROUND,
    captures_content,
    payloads_record,
    read_payloads,
    read_query,
)

MODEL = "model"  # ArrayRecord in Context.state: the device's own model
RECEIVED = "received"  # ConfigRecord in Context.state: payloads of other devices


def client_app(open_device: Callable[[Context], EdgeDevice], *, threads: int | None = None) -> ClientApp:
    """A ClientApp that shares captures, trains on what it receives, and evaluates.

    Model and received payloads stay in ``Context.state`` between messages.

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
        received = _received(context)
        received += [payload for payload in read_payloads(message.content) if payload not in received]
        model, log, frames = open_device(context).train(
            int(str(config[SERVER_ROUND])), received, _model(message, context), Training.of_config(config)
        )
        arrays = ArrayRecord({name: Array(array) for name, array in model.items()})
        context.state[MODEL] = arrays
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
        if config.get(RETURN_MODEL, True):
            content[ARRAYS] = arrays
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        _limit(threads)
        training = Training.of_config(message.content.config_records[CONFIG])
        accuracy = open_device(context).evaluate(_model(message, context), training)
        metrics = MetricRecord({NUM_EXAMPLES: accuracy.images, "map50": accuracy.map50, "map50-95": accuracy.map50_95})
        return Message(RecordDict({METRICS: metrics}), reply_to=message)

    return app


def _model(message: Message, context: Context) -> State | None:
    """The model that the message brings, else the device's own, else none."""
    for record in (message.content.array_records.get(ARRAYS), context.state.array_records.get(MODEL)):
        if record:
            return {name: array.numpy() for name, array in record.items()}
    return None


def _received(context: Context) -> list[bytes]:
    record = context.state.config_records.get(RECEIVED, ConfigRecord())
    return list(record.get("payloads", []))  # type: ignore[arg-type]


def _limit(threads: int | None) -> None:
    if threads is not None:
        torch.set_num_threads(threads)
