"""A Flower mod for any torch ClientApp: models travel as compressed updates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import Mod

from rinr_flower.array_file import Arrays
from rinr_flower.clients.common_model import holding, memory_of, take_common_model, update_of
from rinr_flower.errors import DataError
from rinr_flower.messages.common_model import FEDERATED
from rinr_flower.messages.protocol import ARRAYS, MODEL_KEY, UPDATES
from rinr_flower.messages.records import arrays_of_record, record_of
from rinr_flower.updates import UpdateCompressor, updates

# Records in the context's state:
COMMON = "rinr-common-model"
RESIDUAL = "rinr-update-residual"  # what updates to the server still owe
BASIS = "rinr-update-basis"  # the compressor's own state


def compressed(compressor: str | Mapping[str, Any] | UpdateCompressor = FEDERATED) -> Mod:
    """A mod that shows the ClientApp whole models and sends what training changed in them as a compressed update.

    ``ClientApp(mods=[compressed()])``, with
    :class:`rinr_flower.strategies.CompressedUpdates` at the server. The ClientApp stays as it is: it reads a model from
    its message and answers with one. The model in common and the error feedback stay in ``context.state``. Messages of
    a server that does not compress pass unchanged. Mods that clip or add noise stand inside, behind this one.

    Parameters
    ----------
    compressor : of the updates to the server: a compressor, its name, or a mapping with ``name`` and options.

    Raises
    ------
    PayloadError
        By the mod: if an update is for another model, truncated or altered. The server then sends the whole model.
    DataError
        By the mod: if the ClientApp answers a training message with other arrays than those of the model it was given.
    """
    made = compressor if isinstance(compressor, UpdateCompressor) else updates.create(compressor)

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        if UPDATES not in message.content:
            return call_next(message, context)
        common = take_common_model(message.content, _held(context, COMMON) or None)
        assert common is not None
        context.state[COMMON], held = record_of(common), holding(common)
        shown = copy(message)
        name = next((n for n in message.content.array_records if n != UPDATES), ARRAYS)
        rest = {n: record for n, record in message.content.items() if n != UPDATES}
        shown.content = RecordDict({**rest, name: record_of(common)})
        reply = call_next(shown, context)
        if not reply.has_content():
            return reply
        if message.metadata.message_type.split(".")[0] != MessageType.TRAIN:
            reply.content[UPDATES] = held
            return reply
        answered = list(reply.content.array_records)
        if len(answered) != 1:
            raise DataError(f"the ClientApp's answer has {len(answered)} ArrayRecords; it must have one, the model")
        trained = arrays_of_record(reply.content.array_records[answered[0]])
        memory = memory_of(_held(context, RESIDUAL), _held(context, BASIS))
        update = update_of(common, trained, made, memory, source=f"{context.node_id} {held[MODEL_KEY].data.hex()}")
        context.state[RESIDUAL], context.state[BASIS] = record_of(memory.residual), record_of(memory.basis)
        kept = {n: record for n, record in reply.content.items() if n != answered[0]}
        reply.content = RecordDict({**kept, UPDATES: update})
        return reply

    return mod


def _held(context: Context, name: str) -> Arrays:
    record = context.state.array_records.get(name)
    return {} if record is None else arrays_of_record(record)
