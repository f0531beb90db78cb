"""The payload container: one clip in one codec, with its boxes, decodable alone.

The format is specified in docs/format.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.entropy import decode_ints, encode_ints
from rinr_flower.bitstream.envelope import unwrap, wrap
from rinr_flower.bitstream.stream import ByteReader, ByteWriter
from rinr_flower.errors import DataError, PayloadError
from rinr_flower.frames import MAX_FRAME_PX, MAX_SIDE_PX, Clip

MAGIC = b"RINR"
VERSION = 1
PARTS = ("background", "object", "heads", "motion", "canvas")
MAX_FRAMES = 65_535
MAX_BOXES_PER_FRAME = 4_096
MAX_BOXES = 1 << 18  # of all frames together: entropy coding can declare any number of them in a few bytes
MAX_CLASSES = 65_535
MAX_NAME_BYTES = 256  # of a class, in UTF-8
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, eq=False)
class Payload:
    """A parsed payload: what every codec stores alike, and the codec's own parts.

    Attributes
    ----------
    codec : registered name of the codec.
    width, height : size in pixels of the frames as the camera took them; boxes are in these pixels.
    boxes, classes : per frame, float32 (n, 4) and int64 (n,), as in :class:`rinr_flower.frames.Frame`.
    class_names : the clip's class names.
    parts : part name (see PARTS) to the codec's bytes.
    """

    codec: str
    width: int
    height: int
    boxes: tuple[NDArray[np.float32], ...]
    classes: tuple[NDArray[np.int64], ...]
    class_names: tuple[str, ...]
    parts: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def of_clip(cls, codec: str, clip: Clip, parts: Mapping[str, bytes]) -> Payload:
        """The payload of ``clip`` with its boxes rounded to the 1/16 pixel that the container stores."""
        unit = np.float32(2**_SUBPIXEL_BITS)
        return cls(
            codec,
            clip.width,
            clip.height,
            tuple(np.rint(f.boxes * unit) / unit for f in clip.frames),
            tuple(f.classes for f in clip.frames),
            clip.class_names,
            parts,
        )

    def __len__(self) -> int:
        return len(self.boxes)

    def part(self, name: str) -> bytes:
        """The part's bytes; PayloadError if the payload has no such part."""
        if name not in self.parts:
            raise PayloadError(f"a {self.codec!r} payload needs the part {name!r}; this one has {sorted(self.parts)}")
        return self.parts[name]

    def to_bytes(self) -> bytes:
        """Serialise: fixed header with length and CRC-32, fields, boxes, parts.

        Raises DataError on more than :meth:`from_bytes` would read.
        """
        self._check_limits()
        body = ByteWriter()
        body.blob(self.codec.encode("ascii"))
        body.varint(len(self))
        body.varint(self.width)
        body.varint(self.height)
        body.varint(len(self.class_names))
        for name in self.class_names:
            body.blob(name.encode("utf-8"))
        body.blob(_pack_boxes(self.boxes, self.classes))
        body.u8(len(self.parts))
        for name, data in self.parts.items():
            body.u8(PARTS.index(name))
            body.blob(data)
        return wrap(MAGIC, VERSION, body.getvalue())

    def _check_limits(self) -> None:
        counts, names = [len(b) for b in self.boxes], [len(n.encode("utf-8")) for n in self.class_names]
        for what, found, limit in (
            ("frames", len(counts), MAX_FRAMES),
            ("boxes in one frame", max(counts), MAX_BOXES_PER_FRAME),
            ("boxes", sum(counts), MAX_BOXES),
            ("classes", len(names), MAX_CLASSES),
            ("bytes in the name of a class", max(names, default=0), MAX_NAME_BYTES),
        ):
            if found > limit:
                raise DataError(
                    f"a clip with {found:,} {what}; a payload holds at most {limit:,}, split or thin it out"
                )
        labels = np.concatenate(self.classes)
        if len(labels) and not 0 <= labels.min() <= labels.max() < max(len(names), 1):
            raise DataError(f"a clip of {len(names)} classes has boxes of class {labels.min()} to {labels.max()}")

    @classmethod
    def from_bytes(cls, data: bytes) -> Payload:
        """Parse and check. Raises PayloadError on anything that :meth:`to_bytes` did not write."""
        reader = unwrap(data, MAGIC, VERSION, "payload")
        codec = _text(reader, "ascii", 64)
        frames = reader.varint(MAX_FRAMES)
        width, height = reader.varint(MAX_SIDE_PX), reader.varint(MAX_SIDE_PX)
        if frames == 0 or width == 0 or height == 0 or width * height > MAX_FRAME_PX:
            raise PayloadError(f"payload declares {frames} frames of {width}x{height} pixels")
        class_names = tuple(_text(reader, "utf-8", MAX_NAME_BYTES) for _ in range(reader.varint(MAX_CLASSES)))
        boxes, classes = _unpack_boxes(reader.blob(), frames, len(class_names))
        parts: dict[str, bytes] = {}
        for _ in range(reader.u8()):
            tag = reader.u8()
            if tag >= len(PARTS) or PARTS[tag] in parts:
                raise PayloadError(f"payload has an unknown or repeated part, tag {tag}")
            parts[PARTS[tag]] = reader.blob()
        reader.end()
        return cls(codec, width, height, boxes, classes, class_names, parts)

    def bytes_by_part(self) -> dict[str, int]:
        """Where the bytes are: header, boxes, and every part by name; adds up to ``len(self.to_bytes())``."""
        sizes = {name: len(self.parts.get(name, b"")) for name in PARTS}
        boxes = len(_pack_boxes(self.boxes, self.classes))
        return {"header": len(self.to_bytes()) - boxes - sum(sizes.values()), "boxes": boxes, **sizes}


def _text(reader: ByteReader, encoding: str, limit: int) -> str:
    data = reader.raw(reader.varint(limit))
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise PayloadError(f"payload holds a name that is not {encoding}: {data[:20]!r}") from error


def _pack_boxes(boxes: tuple[NDArray[np.float32], ...], classes: tuple[NDArray[np.int64], ...]) -> bytes:
    """Boxes as integers in 1/2^s pixel (the smallest s <= 4 that is exact, else 4), as differences from the box of the
    same row in the frame before (from zero for a new row), with counts and classes, entropy-coded."""
    flat = np.concatenate([b.reshape(-1, 4) for b in boxes]).astype(np.float64)
    shift = next((s for s in range(_SUBPIXEL_BITS) if (flat * 2**s == np.rint(flat * 2**s)).all()), _SUBPIXEL_BITS)
    counts = np.array([len(b) for b in boxes], np.int64)
    writer = ByteWriter()
    writer.u8(shift)
    writer.blob(encode_ints(np.diff(counts, prepend=0)))
    if counts.sum() == 0:
        return writer.getvalue()
    corners = np.rint(flat * 2**shift).astype(np.int64)
    corners[:, 2:] -= corners[:, :2]  # x, y, width, height vary less from frame to frame than two corners
    labels = np.concatenate([c.reshape(-1) for c in classes]).astype(np.int64)
    rows, before = _places(counts)[1], np.repeat(np.concatenate([[0], counts[:-1]]), counts)
    previous = (np.arange(len(rows)) - before).clip(0)
    known = rows < before
    deltas = corners - np.where(known[:, None], corners[previous], 0)
    class_deltas = labels - np.where(known, labels[previous], 0)
    writer.blob(encode_ints(class_deltas))
    writer.raw(encode_ints(deltas.T))
    return writer.getvalue()


def _places(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Frame and row within it of every box, from the number of boxes of every frame."""
    frames = np.repeat(np.arange(len(counts)), counts)
    return frames, np.arange(len(frames)) - np.repeat(np.cumsum(counts) - counts, counts)


def _accumulated(deltas: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums of ``deltas`` (boxes, columns) along each row, begun anew where the frame before lacks the row."""
    frames, rows = _places(counts)
    order = np.lexsort((frames, rows))
    sums = np.cumsum(deltas[order], axis=0)
    starts = np.flatnonzero((np.diff(rows[order], prepend=-1) != 0) | (np.diff(frames[order], prepend=-2) != 1))
    before = np.concatenate([np.zeros_like(sums[:1]), sums[starts[1:] - 1]])
    out = np.empty_like(sums)
    out[order] = sums - np.repeat(before, np.diff(starts, append=len(sums)), axis=0)
    return out


def _unpack_boxes(
    data: bytes, frames: int, n_classes: int
) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.int64], ...]]:
    reader = ByteReader(data, "box table")
    shift = reader.u8()
    if shift > _SUBPIXEL_BITS:
        raise PayloadError(f"box table has {shift} sub-pixel bits; at most {_SUBPIXEL_BITS} are allowed")
    counts = np.cumsum(decode_ints(reader.blob(), frames, "box counts"))
    if counts.min() < 0 or counts.max() > MAX_BOXES_PER_FRAME:
        raise PayloadError(f"box table declares {int(counts.min())} to {int(counts.max())} boxes in a frame")
    total = int(counts.sum())
    if total > MAX_BOXES:
        raise PayloadError(f"box table declares {total:,} boxes; at most {MAX_BOXES:,} are allowed, split the clip")
    if total == 0:
        reader.end()
        none = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
        return (none[0],) * frames, (none[1],) * frames
    class_deltas = decode_ints(reader.blob(), total, "box classes")
    deltas = decode_ints(reader.raw(reader.left), total * 4, "box coordinates").reshape(4, total).T
    corners, labels = _accumulated(deltas, counts), _accumulated(class_deltas[:, None], counts)[:, 0]
    if np.abs(corners).max() > 2**24 or labels.min() < 0 or labels.max() >= max(n_classes, 1):
        raise PayloadError(f"box table holds a coordinate or class out of range ({n_classes} classes)")
    if corners[:, 2:].min() < 0:
        raise PayloadError("box table holds a box of negative width or height")
    corners[:, 2:] += corners[:, :2]
    boxes, stops = (corners / 2**shift).astype(np.float32), np.cumsum(counts)[:-1]
    return tuple(np.split(boxes, stops)), tuple(np.split(labels, stops))
