"""The coded start model: close to the model, the same at every end, safe to read, and for those alone that read it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray
from small_clips import small_clip
from wire import Wire

from rinr_flower.bitstream.envelope import unwrap, wrap
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.errors import PayloadError
from rinr_flower.messages.coded_model import CODED, KEY, MAGIC, STEP, VERSION, StartModel, is_coded, open_model
from rinr_flower.messages.records import arrays_of_record, record_of
from rinr_flower.strategies import FogNode
from rinr_flower.strategies.encoding import encode_here

pytestmark = pytest.mark.usefixtures("task_identity")


def model() -> dict[str, NDArray[np.generic]]:
    random = np.random.default_rng(0)

    def normal(scale: float, *shape: int, kind: str = "float32") -> NDArray[np.generic]:
        return (scale * random.normal(size=shape)).astype(kind)

    return {
        "embedding": normal(1.0, 200, 64),
        "linear": normal(1e-3, 300, 300),
        "half": normal(0.1, 64, 9, kind="float16"),
        "double": normal(1e-30, 20, 20, kind="float64"),
        "zero": np.zeros((5, 5), np.float32),
        "bias": normal(3.0, 300),
        "running_var": np.abs(normal(1e5, 64)),
        "temperature": np.float32(0.07).reshape(()),
        "batches": np.array(2**40 + 1),
        "mask": random.random((7, 7)) > 0.5,
    }


def test_weights_are_close_whatever_their_scale_and_all_else_is_exact() -> None:
    before = model()
    start = StartModel.of(record_of(before))
    after = arrays_of_record(start.arrays)
    assert list(after) == list(before)
    for name, array in before.items():
        assert (after[name].dtype, after[name].shape) == (array.dtype, array.shape)
        if name in ("embedding", "linear", "half", "double"):
            wanted = array.astype(np.float64)
            error = np.sqrt(np.square(after[name].astype(np.float64) - wanted).mean() / np.square(wanted).mean())
            assert 0.2 * STEP < error < STEP
        else:
            assert np.array_equal(after[name], array)


def test_the_bytes_are_near_the_rate_distortion_bound_of_a_normal_source() -> None:
    """Shannon: at least half the logarithm of variance over error, in bits for each weight."""
    weights = {"w": np.random.default_rng(1).normal(size=(400, 500)).astype(np.float32)}
    start = StartModel.of(record_of(weights))
    assert start.coded is not None
    error = np.square(arrays_of_record(start.arrays)["w"] - weights["w"]).mean()
    bound = 0.5 * np.log2(weights["w"].var() / error)
    assert bound < len(start.coded) * 8 / weights["w"].size < bound + 0.25


def test_what_is_sent_opens_to_what_the_fog_holds_bit_for_bit() -> None:
    start = StartModel.of(record_of(model()))
    assert start.coded is not None
    received = ArrayRecord({KEY: Array("uint8", (len(start.coded),), CODED, bytes(start.coded))})
    assert is_coded(received)
    for name, array in arrays_of_record(open_model(received)).items():
        assert array.tobytes() == arrays_of_record(start.arrays)[name].tobytes()
    plain = record_of(model())
    assert open_model(plain) is plain


@pytest.mark.parametrize(
    "array",
    [
        np.array([1, np.nan, np.inf], np.float32),
        np.zeros((3, 3), np.complex64),
        np.zeros((3, 3), np.uint32),
    ],
    ids=["NaN", "complex", "uint32"],
)
def test_a_model_that_is_not_coded_travels_as_it_is(array: NDArray[np.generic]) -> None:
    arrays = record_of({"w": array})
    start = StartModel.of(arrays)
    assert start.sent is start.arrays is arrays
    assert start.coded is None


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_a_mask_of_infinities_is_exact_and_does_not_keep_the_weights_from_being_coded(kind: str) -> None:
    mask = np.triu(np.full((128, 128), -np.inf, kind), 1)
    odd = np.array([np.inf, -0.0, 1.5], kind)
    start = StartModel.of(
        record_of({**model(), "mask of infinities": mask, "odd": odd, "one": np.array(-np.inf, kind)})
    )
    plain = StartModel.of(record_of(model()))
    assert start.coded is not None
    assert plain.coded is not None
    assert len(start.coded) < len(plain.coded) + 1_000
    found = arrays_of_record(start.arrays)
    assert found["mask of infinities"].tobytes() == mask.tobytes()
    assert found["odd"].tobytes() == odd.tobytes()
    assert (found["one"].shape, found["one"].dtype, float(found["one"])) == ((), np.dtype(kind), -np.inf)


def test_a_weight_with_a_value_far_above_the_others_is_exact() -> None:
    weights = np.random.default_rng(2).normal(size=(300, 300)).astype(np.float32)
    weights[5, 7] = 1e4
    start = StartModel.of(record_of({"w": weights, "v": weights / 1e4}))
    assert np.array_equal(arrays_of_record(start.arrays)["w"], weights)


def coded(**others: NDArray[np.generic]) -> bytes:
    """A coded model, with ``others`` beside its arrays."""
    found = StartModel.of(record_of({**model(), **others})).coded
    assert found is not None
    return found


def test_nan_among_infinities_is_refused() -> None:
    masked = coded(mask_of_infinities=np.array([np.inf, 1.0]))
    with pytest.raises(PayloadError, match="NaN into array 'mask_of_infinities'"):
        open_model(altered(masked, plain=zlib.compress(np.array([np.inf, np.nan]).tobytes())))


def altered(data: bytes, *, table: bytes | None = None, plain: bytes | None = None) -> ArrayRecord:
    """A coded model with another table or other bytes, and a checksum that fits."""
    reader = unwrap(data, MAGIC, VERSION, "coded model")
    writer = ByteWriter()
    for other in (table, plain):
        blob = reader.blob()
        writer.blob(blob if other is None else other)
    writer.raw(reader.raw(reader.left))
    data = wrap(MAGIC, VERSION, writer.getvalue())
    return ArrayRecord({KEY: Array("uint8", (len(data),), CODED, data)})


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ([["w", "float32", [2**20, 2**20], None]], "declares 4,398,046,511,104 bytes"),
        ([["w", "float32", [-1, 4], None]], "shape"),
        ([["w", "float32", [True, 4], None]], "shape"),
        ([["w", "object", [4], None]], "is no array"),
        ([["w", "int64", [4, 4], 3]], "has the form 3"),
        ([["w", "int64", [4, 4], "bytes"]], "has the form bytes"),
        ([["w", "float32", [4], 3]], "has the form 3"),
        ([["w", "float32", [4, 4], 10**9]], "has the form 1"),
        ([["w", "float32", [4, 4], [1]]], "has the form"),
        ([["w", "float32", [4, 4], True]], "has the form True"),
        ([["w", "float32", [4, 4], "bytes"]], "other than the 64 bytes"),
        ([["w"]], "no readable table"),
        ({"w": 1}, "no readable table"),
        ([["w", "float32", [4, 4], 0]], "update is for the base"),
    ],
)
def test_hostile_tables_are_refused(table: object, text: str) -> None:
    with pytest.raises(PayloadError, match=text):
        open_model(altered(coded(), table=zlib.compress(json.dumps(table).encode())))


@pytest.mark.parametrize("table", [b"", b"junk", zlib.compress(b" " * (1 << 25), 9), zlib.compress(b"[" * 100_000)])
def test_tables_that_are_no_json_or_too_long_are_refused(table: bytes) -> None:
    with pytest.raises(PayloadError, match="no readable table"):
        open_model(altered(coded(), table=table))


def test_truncated_and_altered_models_are_refused() -> None:
    whole = coded()
    for data in (b"", whole[:50], whole[:-1], whole + b"x", whole[:200] + b"\x00\x01" + whole[202:]):
        with pytest.raises(PayloadError):
            open_model(ArrayRecord({KEY: Array("uint8", (len(data),), CODED, data)}))


def test_devices_that_read_coded_models_and_others_begin_with_the_same_weights(tmp_path: Path) -> None:
    """In one round; the ledger has what each was sent, and mods of a device see plain arrays."""
    seen: dict[int, dict[str, NDArray[np.generic]]] = {}

    def spy(message: Message, context: Context, call_next: ClientApp) -> Message:
        seen[context.node_id] = arrays_of_record(message.content.array_records["arrays"])
        return call_next(message, context)

    def device(number: int) -> ClientApp:
        folder = DeviceFolder.write(
            tmp_path / str(number), f"d{number}", [[small_clip("c", number, (32, 32))]], [small_clip("r", 9, (32, 32))]
        )
        return client_app(lambda context: EdgeDevice(folder), mods=[spy])

    class Plain(Wire):
        """Node 11 does not say that it reads coded models."""

        def answered(self, reply: Message) -> Message:
            if reply.metadata.src_node_id == 11 and reply.has_content() and "captures" in reply.content:
                reply.content.config_records["captures"].pop("coded-models")
            return reply

    wire = Plain({10: device(10), 11: device(11)})
    wire.change_answered = wire.answered
    strategy = FogNode("jpeg", inner=FedAvg(), encoder=encode_here)
    begin = {"w": np.random.default_rng(3).normal(size=(100, 100)).astype(np.float32)}
    strategy.start(wire, record_of(begin), 1, timeout=1)
    start = strategy.start_model
    assert start is not None
    assert start.coded is not None
    sent = {m.metadata.dst_node_id: m for m in wire.sent if m.metadata.message_type == "train"}
    assert is_coded(sent[10].content.array_records["arrays"])
    assert not is_coded(sent[11].content.array_records["arrays"])
    held = arrays_of_record(start.arrays)["w"]
    assert np.array_equal(seen[10]["w"], held)
    assert np.array_equal(seen[11]["w"], held)
    rows = {e.destination: e.payload_bytes for e in strategy.ledger if e.kind == "start_model"}
    assert rows == {"d10": len(start.coded), "d11": len(record_of(begin)["w"].data)}
