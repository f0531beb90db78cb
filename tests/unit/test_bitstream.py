"""Readers, containers, entropy coding and quantisation against direct formulas and hostile bytes."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.entropy import TOTAL, decode_ints, encode_ints, normalise
from rinr_flower.bitstream.stream import ByteReader, ByteWriter, pack_blobs, unpack_blobs
from rinr_flower.bitstream.weights import pack_tensors, quantise, round_up_bfloat16, unpack_tensors
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Clip, Frame


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=300))
@settings(max_examples=60, deadline=None)
def test_entropy_coding_is_lossless(values: list[int]) -> None:
    array = np.array(values, np.int64)
    np.testing.assert_array_equal(decode_ints(encode_ints(array), len(values)), array)


def test_entropy_coding_is_near_the_entropy() -> None:
    values = np.rint(np.random.default_rng(0).laplace(scale=3, size=20_000)).astype(np.int64)
    counts = np.unique(values, return_counts=True)[1]
    entropy_bytes = -(counts * np.log2(counts / counts.sum())).sum() / 8
    assert entropy_bytes < len(encode_ints(values)) < 1.02 * entropy_bytes + 16


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=500).filter(lambda c: sum(c) > 0))
@settings(max_examples=60, deadline=None)
def test_normalised_counts_add_up_and_keep_every_symbol(counts: list[int]) -> None:
    scaled = normalise(np.array(counts))
    assert scaled.sum() == TOTAL
    assert ((scaled > 0) == (np.array(counts) > 0)).all()


@pytest.mark.parametrize("cut", [0, 1, 3, 10])
def test_truncated_integer_block_is_refused(cut: int) -> None:
    data = encode_ints(np.random.default_rng(1).integers(-9, 9, 500))
    with pytest.raises(PayloadError):
        decode_ints(data[:cut], 500)


@given(st.integers(0, 2**40), st.integers(-(2**31), 2**31))
@settings(deadline=None)
def test_varints_round_trip(unsigned: int, signed: int) -> None:
    writer = ByteWriter()
    writer.varint(unsigned)
    writer.signed(signed)
    reader = ByteReader(writer.getvalue())
    assert (reader.varint(2**40), reader.signed()) == (unsigned, signed)
    reader.end()


def test_a_number_that_never_ends_is_refused() -> None:
    with pytest.raises(PayloadError, match="never ends"):
        ByteReader(b"\xff" * 50).varint()


def test_a_blob_longer_than_the_data_is_refused_before_it_is_read() -> None:
    with pytest.raises(PayloadError, match="truncated"):
        ByteReader(b"\xff\xff\xff\xff\x0f").blob()


def test_blobs_round_trip_and_refuse_leftovers() -> None:
    blobs = [b"", b"a" * 300, b"\0"]
    assert unpack_blobs(pack_blobs(blobs), 3, "test") == blobs
    with pytest.raises(PayloadError, match="too many"):
        unpack_blobs(pack_blobs(blobs), 2, "test")


def clip_with_boxes() -> Clip:
    boxes = [[[1, 2, 5, 7.5], [0.0625, 0, 9, 9]], [], [[3, 3, 4, 4]]]
    frames = [Frame(np.zeros((10, 12, 3), np.uint8), np.array(b, np.float32).reshape(-1, 4),
                    np.arange(len(b), dtype=np.int64)) for b in boxes]  # fmt: skip
    return Clip("c", tuple(frames), ("a", "ö"))


def test_container_round_trip() -> None:
    payload = Payload.of_clip("jpeg", clip_with_boxes(), {"background": b"xyz", "motion": b""})
    again = Payload.from_bytes(payload.to_bytes())
    assert (again.codec, again.width, again.height, again.class_names) == ("jpeg", 12, 10, ("a", "ö"))
    assert dict(again.parts) == {"background": b"xyz", "motion": b""}
    for before, after in zip(clip_with_boxes().frames, again.boxes, strict=True):
        np.testing.assert_array_equal(before.boxes, after)
    assert sum(again.bytes_by_part().values()) == len(payload.to_bytes())


def test_boxes_are_kept_to_a_sixteenth_of_a_pixel() -> None:
    boxes = np.random.default_rng(2).uniform(0, 600, (40, 2, 2)).astype(np.float32)
    boxes = np.concatenate([boxes.min(axis=1), boxes.max(axis=1)], axis=1)
    clip = Clip("c", (Frame(np.zeros((600, 600, 3), np.uint8), boxes, np.zeros(40, np.int64)),))
    kept = Payload.from_bytes(Payload.of_clip("jpeg", clip, {}).to_bytes()).boxes[0]
    assert np.abs(kept - boxes).max() <= 1 / 32 + 1e-4


def test_whole_pixel_boxes_that_move_slowly_take_few_bytes() -> None:
    frames = [Frame(np.zeros((400, 400, 3), np.uint8), np.array([[100 + t, 50, 130 + t, 90]], np.float32),
                    np.zeros(1, np.int64)) for t in range(64)]  # fmt: skip
    sizes = Payload.of_clip("jpeg", Clip("c", tuple(frames)), {}).bytes_by_part()
    assert sizes["boxes"] < 2 * 64


@pytest.mark.parametrize("length", [0, 1, 4, 8, 12, 13, 20, 40])
def test_truncated_container_is_refused(length: int) -> None:
    data = Payload.of_clip("jpeg", clip_with_boxes(), {"background": b"x" * 50}).to_bytes()
    with pytest.raises(PayloadError):
        Payload.from_bytes(data[:length])


def test_every_flipped_byte_is_noticed() -> None:
    data = Payload.of_clip("jpeg", clip_with_boxes(), {"background": b"x" * 50}).to_bytes()
    for at in range(len(data)):
        with pytest.raises(PayloadError):
            Payload.from_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])


def test_other_version_is_named() -> None:
    data = bytearray(Payload.of_clip("jpeg", clip_with_boxes(), {}).to_bytes())
    data[4] = 9
    with pytest.raises(PayloadError, match="version 9"):
        Payload.from_bytes(bytes(data))


def test_declared_giants_are_refused_before_allocation() -> None:
    writer = ByteWriter()
    writer.blob(b"jpeg")
    for value in (60_000, 16_384, 16_384):
        writer.varint(value)
    content = writer.getvalue()
    data = b"RINR\x01" + struct.pack("<II", len(content), zlib.crc32(content)) + content
    with pytest.raises(PayloadError, match="16384x16384"):
        Payload.from_bytes(data)


@pytest.mark.parametrize("bits", [2, 5, 8, 11, 16, 32])
@pytest.mark.parametrize("axes", [(), (0,), (0, 2)])
def test_weights_round_trip_within_half_a_step(bits: int, axes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(3)
    tensors = [generator.normal(size=s).astype(np.float32) * g for s, g in (((4, 3, 5), 1), ((4, 1, 5), 1e-3))]
    packed = pack_tensors([quantise(t, bits, axes) for t in tensors], bits)
    reader = ByteReader(packed)
    for before, after in zip(tensors, unpack_tensors(reader, [t.shape for t in tensors], bits, axes), strict=True):
        np.testing.assert_array_equal(after.values, quantise(before, bits, axes).values)
        half_step = 0 if bits == 32 else after.scale / 2 * 1.0001
        assert (np.abs(after.dequantise() - before) <= half_step).all()
        if bits < 32:
            assert np.abs(after.values).max() <= 2 ** (bits - 1) - 1
    reader.end()


def test_an_8_bit_tensor_has_at_most_255_levels() -> None:
    levels = np.unique(quantise(np.linspace(-1, 1, 10_001), 8).values)
    assert 250 <= len(levels) <= 255
    assert -levels[0] == levels[-1] <= 127


def test_all_zero_weights() -> None:
    tensor = quantise(np.zeros((3, 4), np.float32), 8)
    assert not tensor.dequantise().any()


def test_bfloat16_rounding_is_upward_and_idempotent() -> None:
    values = np.random.default_rng(4).lognormal(sigma=8, size=1000).astype(np.float32)
    rounded = round_up_bfloat16(values)
    assert ((rounded >= values) & (rounded <= values * (1 + 2**-7))).all()
    np.testing.assert_array_equal(round_up_bfloat16(rounded), rounded)
