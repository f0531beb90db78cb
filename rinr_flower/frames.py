"""Frames, clips and boxes: what devices capture and codecs carry."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rinr_flower.errors import DataError

MAX_SIDE_PX = 16384
MAX_FRAME_PX = 64_000_000
MAX_JPEG_SCANS = 100  # each scan of a progressive JPEG passes over all pixels; cameras write about ten
CAMERA_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "AVIF", "TIFF", "PPM", "JPEG2000")  # others of Pillow's start programs
PAYLOAD_FORMATS = ("JPEG", "WEBP", "AVIF")  # what codecs write
ORIENTATION = 0x0112  # EXIF tag
LYING = (5, 6, 7, 8)  # its values for pictures whose rows are shown as columns
_PNG_ORIENTATION = (b"eXIf", b"Orientation")  # in a chunk of its own, or in XMP
_JPEG_SCAN = b"\xff\xda"

Window = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Frame:
    """One RGB image with its labelled boxes.

    Attributes
    ----------
    image : uint8, shape (height, width, 3), RGB.
    boxes : float32, shape (n, 4): x1, y1, x2, y2 in pixels; edges, 0-based, so that a box's width is x2 - x1.
    classes : int64, shape (n,): index into the clip's ``class_names``.
    file : the camera's own JPEG file where there is one, else empty (a decoded or a generated frame).
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    classes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    file: bytes = b""

    @property
    def height(self) -> int:
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        return int(self.image.shape[1])


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive frames of one device, all of one size. At least one frame."""

    name: str
    frames: tuple[Frame, ...]
    class_names: tuple[str, ...] = ("object",)

    def __post_init__(self) -> None:
        if not self.frames:
            raise DataError(f"clip {self.name!r} has no frames")
        sizes = {(f.width, f.height) for f in self.frames}
        if len(sizes) > 1:
            raise DataError(f"clip {self.name!r} mixes frame sizes {sorted(sizes)}; a clip has one size, split it")

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: slice) -> Clip:
        return Clip(self.name, self.frames[key], self.class_names)

    @property
    def width(self) -> int:
        return self.frames[0].width

    @property
    def height(self) -> int:
        return self.frames[0].height

    def images(self) -> NDArray[np.uint8]:
        """All images, uint8, shape (frames, height, width, 3)."""
        return np.stack([f.image for f in self.frames])

    def file_bytes(self) -> int:
        """Bytes of the camera's own files: what every codec is compared with."""
        return sum(len(f.file) for f in self.frames)


def read_image(
    data: bytes,
    *,
    name: str,
    sizes: Collection[tuple[int, int]] = (),
    formats: tuple[str, ...] = CAMERA_FORMATS,
) -> NDArray[np.uint8]:
    """Decode an image file held in memory to RGB uint8 (height, width, 3), EXIF rotation applied.

    Grey, palette and CMYK files become RGB; of 16 bits the upper 8 are taken, as OpenCV does; floating-point values in
    0..1 are scaled to 0..255. Raises DataError, naming ``name``, when the bytes are not an image in one of ``formats``
    (whatever the name says), are cut off, or have values of unknown range; and, before pixels are decoded, when they
    hold more than MAX_FRAME_PX pixels or MAX_JPEG_SCANS scans, or are of none of the ``sizes`` (width, height), where
    there are any.
    """
    with _named(name), Image.open(io.BytesIO(data), formats=formats) as picture:
        width, height = picture.size
        _check_size(width, height, name)
        if sizes and not {(width, height), (height, width)} & set(sizes):
            declared = " or ".join(f"{w}x{h}" for w, h in sizes)
            raise DataError(f"{name}: {width}x{height} pixels where {declared} are declared")
        if picture.format in ("JPEG", "MPO") and data.count(_JPEG_SCAN) > MAX_JPEG_SCANS:
            raise DataError(f"{name}: a JPEG of more than {MAX_JPEG_SCANS} scans; save it again as baseline")
        upright = _as_rgb(ImageOps.exif_transpose(picture), picture.format, name)
        if sizes and upright.size not in sizes:
            raise DataError(f"{name}: its pixels lie on their side and no EXIF field says so")
        return np.asarray(upright)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) of an image file as :func:`read_image` shows it, from its header. Raises DataError."""
    with _named(str(path)), Image.open(path, formats=CAMERA_FORMATS) as picture:
        width, height = picture.size
        _check_size(width, height, str(path))
        if picture.format == "TIFF":  # which Pillow turns itself
            return width, height
        if picture.format == "PNG" and not any(mark in path.read_bytes() for mark in _PNG_ORIENTATION):
            return width, height  # Pillow would decode the picture to look for the field behind its pixels
        lies = picture.getexif().get(ORIENTATION) in LYING
        return (height, width) if lies else (width, height)


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_FRAME_PX or max(width, height) > MAX_SIDE_PX:
        raise DataError(f"{name}: {width}x{height} pixels is over the limit of {MAX_FRAME_PX:,}; scale the image down")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors of Pillow become a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{name}: its pixels do not fit in memory") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a readable image: its content is in none of the formats read here") from error
    except OSError as error:
        raise DataError(f"{name}: not a readable image: {error.strerror or error}") from error
    except Exception as error:  # Pillow's plug-ins raise SyntaxError, ValueError, struct.error, ...
        raise DataError(f"{name}: not a readable image: {error}") from error


def _as_rgb(picture: Image.Image, kind: str | None, name: str) -> Image.Image:
    """Eight bits a channel: Pillow's own conversion would clip wider values to white or black."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind == "PPM"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    elif picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)
        low, high = float(values.min()), float(values.max())
        if picture.mode == "I" or not (low >= 0 and high <= 1):
            raise DataError(
                f"{name}: values from {low:g} to {high:g}, and nothing says which of them is white; save it with 8 or "
                "16 bits a channel, or as floating-point values in 0..1"
            )
        picture = Image.fromarray((values * 255 + 0.5).astype(np.uint8))
    return picture.convert("RGB")


def write_jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    """``image`` (height, width, 3 or height, width) as a JPEG file, 4:2:0, optimised Huffman tables."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def clean_boxes(
    boxes: NDArray[np.floating], classes: Sequence[int] | NDArray[np.integer], width: int, height: int
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """Clip boxes to the frame and drop those that are not finite, empty, or outside it.

    Returns the boxes (n, 4) float32, their classes (n,) int64, and how many were dropped. Raises DataError unless there
    are four numbers for every class.
    """
    array, labels = np.asarray(boxes, np.float64), np.asarray(classes, np.int64).reshape(-1)
    if array.size != 4 * len(labels):
        raise DataError(f"boxes of shape {array.shape} with {len(labels)} classes; a box is x1, y1, x2, y2 and a class")
    array = array.reshape(-1, 4)
    finite = np.asarray(np.isfinite(array).all(axis=1))
    clipped = np.where(finite[:, None], array, 0.0)
    clipped[:, 0::2] = clipped[:, 0::2].clip(0, width)
    clipped[:, 1::2] = clipped[:, 1::2].clip(0, height)
    keep = finite & (clipped[:, 2] - clipped[:, 0] >= 1) & (clipped[:, 3] - clipped[:, 1] >= 1)
    return clipped[keep].astype(np.float32), labels[keep], int((~keep).sum())


def box_windows(boxes: NDArray[np.float32], width: int, height: int, margin: int = 0) -> list[Window]:
    """Whole-pixel windows x1, y1, x2, y2 that cover the boxes and ``margin`` pixels around, cut at the frame; a box
    outside gives no window."""
    windows = []
    for x1, y1, x2, y2 in np.asarray(boxes, np.float64):
        left, top = max(0, math.floor(x1) - margin), max(0, math.floor(y1) - margin)
        right, bottom = min(width, math.ceil(x2) + margin), min(height, math.ceil(y2) + margin)
        if left < right and top < bottom:
            windows.append((left, top, right, bottom))
    return windows


def box_mask(boxes: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """Boolean mask (height, width) of the pixels that any box covers, edges rounded outward."""
    mask = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in box_windows(boxes, width, height):
        mask[y1:y2, x1:x2] = True
    return mask
