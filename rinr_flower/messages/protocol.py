"""The messages between a fog node and its edge devices: names of records and keys, and how each is written and read.

docs/strategies.md says the same in words. Any ClientApp that follows it can take part.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.errors import DataError, PayloadError
from rinr_flower.names import MAX_NAME_LENGTH, is_name

ARRAYS = "arrays"  # ArrayRecord: a model, under the name that Flower's own strategies use
CONFIG = "config"  # ConfigRecord: what the fog asks for
METRICS = "metrics"  # MetricRecord: what a device measured
CAPTURES = "captures"  # ConfigRecord: a device's name and what it says of its uploads
UPLOADS = "uploads"  # ArrayRecord: captures, as payloads of the upload codec
PAYLOADS = "payloads"  # ArrayRecord: clips of other devices
UPDATES = "updates"  # ArrayRecord: changes of the model that fog and devices hold in common

SERVER_ROUND = "server-round"
JOB = "job"  # which run a message belongs to: 1 to 64 of the characters 0-9, a-z and -
UPLOAD = "upload"
RETURN_MODEL = "return-model"
NUM_EXAMPLES = "num-examples"
TRAIN_HERE = "train"
CODED_MODELS = "coded-models"
COMPRESSOR = "compressor"

STYPE = "rinr"  # of an Array whose data are a payload's bytes as they are
MODEL_KEY = "model"  # of the fingerprint in the record UPDATES

MAX_WEIGHT = 1e6  # training does not bring a network's weights near this: beyond it, a model has exploded
MAX_GROWTH = 1e3  # except in an array that held large numbers before: that may grow so many times


@dataclass(frozen=True, eq=False)
class Capture:
    """One clip of one device as it was uploaded.

    Attributes
    ----------
    device, clip : names.
    camera_bytes : bytes of the camera's own files for these frames.
    data : payload bytes of the upload codec.
    """

    device: str
    clip: str
    camera_bytes: int
    data: bytes

    @cached_property
    def payload(self) -> Payload:
        """``data``, parsed once. Raises PayloadError."""
        return Payload.from_bytes(self.data)


@dataclass(frozen=True)
class Introduction:
    """A device's words about itself in its answer to a QUERY.

    Attributes
    ----------
    device : its name.
    holds : :func:`holds_digest` of the payloads that it has received in the job, empty if it remembers nothing, not
        even the start model. A device that does not say (None) is believed to hold what it has confirmed.
    coded_models : it reads models in their coded form, see :mod:`rinr_flower.messages.coded_model`.
    """

    device: str
    holds: str | None = None
    coded_models: bool = False


def query_content(server_round: int, upload: str | Mapping[str, Any] | None) -> RecordDict:
    """What a QUERY asks: the captures of a round, encoded with the codec ``upload``; None asks for the name alone."""
    return RecordDict({CONFIG: ConfigRecord({SERVER_ROUND: server_round, UPLOAD: json.dumps(upload)})})


def read_query(content: RecordDict) -> tuple[int, str | Mapping[str, Any] | None]:
    """Round and upload codec of a QUERY; None where no captures are asked for."""
    config = content.config_records[CONFIG]
    return int(str(config[SERVER_ROUND])), json.loads(str(config[UPLOAD]))


def captures_content(
    device: str, captures: Sequence[Capture], holds: str | None = None, *, coded_models: bool = False
) -> RecordDict:
    """A device's answer to a QUERY; a device without a new capture answers with empty lists.

    The other parameters are those of :class:`Introduction`.
    """
    said: dict[str, str | bool] = {} if holds is None else {"holds": holds}
    if coded_models:
        said[CODED_MODELS] = True
    return RecordDict(
        {
            CAPTURES: ConfigRecord(
                {
                    "device": device,
                    **said,
                    "clips": [c.clip for c in captures],
                    "camera-bytes": [c.camera_bytes for c in captures],
                }
            ),
            UPLOADS: bytes_record([c.data for c in captures]),
        }
    )


def bytes_record(items: Iterable[bytes | Array]) -> ArrayRecord:
    """Payloads under the keys ``0``, ``1``, ...; the SuperLink stores an Array once, however many messages have it."""
    record = ArrayRecord()
    for number, item in enumerate(items):  # set one by one: the constructor copies, and each copy is hashed again
        record[str(number)] = item if isinstance(item, Array) else bytes_array(item)
    return record


def bytes_array(data: bytes) -> Array:
    """Bytes as an Array, without a header of their own."""
    return Array("uint8", (len(data),), STYPE, data)


def read_bytes(content: RecordDict, name: str, skip: str | None = None) -> list[bytes]:
    """The payloads in the ArrayRecord ``name``, in order, but for the key ``skip``; none if there is no such record.

    Raises
    ------
    DataError
        If the record is of another kind, or an array does not hold bytes as they are.
    """
    if name not in content:
        return []
    record = content[name]
    if not isinstance(record, ArrayRecord):
        raise DataError(
            f"the record {name!r} is a {type(record).__name__}; it must be an ArrayRecord (does the sender run an "
            "earlier version of rinr_flower? update it)"
        )
    for key, array in record.items():
        if array.stype != STYPE:
            raise DataError(f"array {key[:40]!r} of the record {name!r} is of type {array.stype[:40]!r}, not {STYPE!r}")
    return [array.data for key, array in record.items() if key != skip]


def holds_digest(names: Iterable[str]) -> str:
    """16 hex digits that stand for a set of payloads, given by name: the SHA-256 of their bytes as 64 hex digits."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()[:16]


def read_captures(content: RecordDict) -> tuple[Introduction, list[Capture]]:
    """Read a device's introduction and its captures; DataError names what is wrong with the answer."""
    record = content.config_records.get(CAPTURES)
    if record is None:
        raise DataError(f"the answer has no ConfigRecord {CAPTURES!r}; it has {sorted(content)}")
    device = record.get("device")
    if not isinstance(device, str) or not device or not is_name(device):
        raise DataError(
            f"'device' is {str(device)[:40]!r}; it must be a name of 1 to {MAX_NAME_LENGTH} printable characters"
        )
    if "payloads" in record:
        raise DataError(
            f"the record {CAPTURES!r} holds 'payloads': the device runs an earlier version of rinr_flower; update it"
        )
    clips = _list_of(record, "clips", str)
    sizes = _list_of(record, "camera-bytes", int)
    data = read_bytes(content, UPLOADS)
    if not len(clips) == len(sizes) == len(data):
        raise DataError(f"{len(clips)} clips, {len(sizes)} sizes and {len(data)} uploads; there must be one of each")
    if (least := min(sizes, default=0)) < 0:
        raise DataError(f"'camera-bytes' holds {least}; a size in bytes is not negative")
    for clip in clips:
        if not is_name(clip):
            raise DataError(
                f"'clips' holds {clip[:40]!r}; a clip's name has at most {MAX_NAME_LENGTH} characters, all printable"
            )
    holds = record.get("holds")
    if holds is not None and (not isinstance(holds, str) or len(holds) > MAX_NAME_LENGTH):
        raise DataError(f"'holds' is {str(holds)[:40]!r}; it must be a digest of 16 hex digits, or empty")
    said = Introduction(device, holds, record.get(CODED_MODELS) is True)
    return said, [Capture(device, c, s, d) for c, s, d in zip(clips, sizes, data, strict=True)]


def _list_of(record: ConfigRecord, key: str, kind: type[Any]) -> list[Any]:
    value = record.get(key)
    if not isinstance(value, list) or any(type(item) is not kind for item in value):
        raise DataError(f"{key!r} must be a list of {kind.__name__}")
    return value


def read_payloads(content: RecordDict) -> list[bytes]:
    """The payloads of a TRAIN message; none if it carries no such record."""
    return read_bytes(content, PAYLOADS)


def updates_record(updates: Sequence[bytes | Array], model: bytes) -> ArrayRecord:
    """Model updates, and the fingerprint of the model in common.

    From the fog: ``updates`` in the order in which they apply, ``model`` what the device holds after them. From a
    device: ``model`` is what it holds, ``updates`` what its training changed in that, if anything.
    """
    record = bytes_record(updates)
    record[MODEL_KEY] = bytes_array(model)
    return record


def read_updates(content: RecordDict) -> tuple[list[bytes], bytes] | None:
    """Updates and fingerprint of a message; None if it has no such record."""
    if UPDATES not in content:
        return None
    updates = read_bytes(content, UPDATES, skip=MODEL_KEY)
    model = content.array_records[UPDATES].get(MODEL_KEY)
    if model is None:
        raise DataError(f"the record {UPDATES!r} has no array {MODEL_KEY!r}; it must be the model's fingerprint")
    return updates, model.data


def check_classes(payload: Payload, class_names: Sequence[str]) -> None:
    """PayloadError if a payload has a box of a class that ``class_names`` lacks."""
    used: Iterable[int] = {int(number) for classes in payload.classes for number in classes}
    unknown = sorted({payload.class_names[number] for number in used} - set(class_names))
    if unknown:
        raise PayloadError(
            f"it has boxes of class {unknown[0]!r}, and the detector knows {len(class_names)} classes: "
            f"{', '.join(class_names)[:200]}"
        )


def check_metrics(content: RecordDict, weight: str = NUM_EXAMPLES) -> MetricRecord:
    """The one MetricRecord of a TRAIN or EVALUATE answer; DataError unless it has one and its weights can be used."""
    records = list(content.metric_records.values())
    if len(records) != 1:
        raise DataError(f"the answer has {len(records)} MetricRecords; it must have one")
    for name in dict.fromkeys((NUM_EXAMPLES, weight)):
        value = records[0].get(name)
        if value == 0:
            raise DataError(f"{name!r} is 0: the device had nothing to train or evaluate on; its answer is left out")
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise DataError(f"{name!r} is {value!r}; it must be a number greater than 0")
    return records[0]


def numbers_of(name: str, array: Array) -> NDArray[np.generic]:
    """An array of a model out of a message.

    Raises
    ------
    DataError
        If it cannot be read without running code, is not of the shape and type that it says, or does not consist of
        numbers. NaN counts as no number.
    """
    try:
        numbers = np.array(array.numpy())
    except (ValueError, TypeError, EOFError, OSError, SyntaxError, MemoryError) as error:
        raise DataError(f"array {name[:80]!r} cannot be read: {error}") from error
    said, found = f"{array.dtype} {tuple(array.shape)}", f"{numbers.dtype} {numbers.shape}"
    if said != found or numbers.dtype.kind not in "biuf":
        raise DataError(f"array {name[:80]!r} says {said[:80]} and holds {found[:80]}; a model has plain numbers")
    if numbers.dtype.kind == "f" and np.isnan(numbers).any():
        raise DataError(f"array {name[:80]!r} holds nan; a model's numbers are numbers")
    return numbers


def check_numbers(name: str, numbers: NDArray[np.generic], before: NDArray[np.generic] | None = None) -> None:
    """DataError if training has put NaN, infinity or a number that no network can train on into an array.

    Parameters
    ----------
    before : the array that training started from; what it has not changed passes, such as the -inf of a causal mask,
        and where it held large numbers, larger ones pass. None if it is not known.
    """
    if numbers.dtype.kind != "f" or not numbers.size:
        return
    limit = MAX_WEIGHT
    if before is not None and before.shape == numbers.shape:
        finite = np.abs(before[np.isfinite(before)].astype(np.float64))
        limit = max(MAX_WEIGHT, MAX_GROWTH * float(finite.max(initial=0)))
        numbers = numbers[numbers != before]
    largest = float(np.abs(numbers.astype(np.float64)).max(initial=0))
    if not largest <= limit:  # also where it is NaN
        raise DataError(f"array {name[:80]!r} holds {largest:g}; a model's numbers are finite and at most {limit:g}")


def check_model(arrays: ArrayRecord, expected: ArrayRecord) -> None:
    """DataError unless ``arrays`` has the names, shapes and types of ``expected`` and numbers that a model may have."""
    if set(arrays) != set(expected):
        odd = sorted(set(arrays) ^ set(expected))
        raise DataError(f"the model has other arrays than the fog's: {len(odd)} differ, for example {odd[0]!r}")
    for name, array in arrays.items():
        other = expected[name]
        if array.shape != other.shape or array.dtype != other.dtype:
            raise DataError(
                f"array {name!r} is {array.dtype} {tuple(array.shape)}; the fog's is {other.dtype} {tuple(other.shape)}"
            )
        check_numbers(name, numbers_of(name, array), other.numpy())
