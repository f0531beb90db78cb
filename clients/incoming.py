"""What a device accepts from its fog: everything is checked before it is used or kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from flwr.app import ArrayRecord
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import RinrError
from rinr_flower.messages.protocol import check_classes, check_numbers, numbers_of

log = logging.getLogger("flwr.rinr_flower")


def model_of(record: ArrayRecord) -> dict[str, NDArray[np.generic]]:
    """The model in a message's record; DataError names the first array that :func:`check_numbers` refuses."""
    model = {name: numbers_of(name, array) for name, array in record.items()}
    for name, numbers in model.items():
        check_numbers(name, numbers)
    return model


def add_payloads(store: FrameStore, payloads: Mapping[str, bytes], class_names: Sequence[str]) -> list[str]:
    """Put payloads, given by name, into a store; the names of those that cannot be used, which the log explains."""
    refused = []
    for name, data in payloads.items():
        try:
            check_classes(Payload.from_bytes(data), class_names)
            store.add(data)
        except RinrError as error:
            log.warning("payload %s (%d bytes) is left out: %s", name, len(data), error)
            refused.append(name)
    return refused
