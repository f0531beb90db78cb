"""A textured scene that a camera pans over, an object that moves against it, and payloads of it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.entropy import encode_ints
from rinr_flower.bitstream.stream import ByteWriter
from rinr_flower.codecs.scene.format.code import FEATURES
from rinr_flower.codecs.scene.format.trunk import shipped_trunk
from rinr_flower.frames import Clip, Frame

SIZE = (96, 128)  # height, width


def texture(height: int, width: int, seed: int, cell: int = 8) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(30, 225, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def clip_of(frames: int, *, pan: float = 1.0, seed: int = 0, boxed: bool = True, grey: bool = False) -> Clip:
    """A textured scene that a camera pans over, and an object that moves against it."""
    height, width = SIZE
    scene, thing = texture(height, width + 80, seed), texture(30, 22, seed + 1, cell=5)
    made = []
    for t in range(frames):
        shift = np.array([[1, 0, -pan * t], [0, 1, 0]], np.float32)
        image = cv2.warpAffine(scene, shift, (width, height), flags=cv2.INTER_CUBIC)
        left, top = 10 + 2 * t, 40 + t // 2
        image[top : top + 30, left : left + 22] = thing
        if grey:
            image = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
        box = np.array([[left, top, left + 22, top + 30]], np.float32) if boxed else np.zeros((0, 4), np.float32)
        made.append(Frame(image.clip(0, 255).astype(np.uint8), box, np.zeros(len(box), np.int64)))
    return Clip("made", tuple(made))


def with_heads(data: bytes, *, grey: bool = False) -> bytes:
    """A payload of ``scene`` with heads for canvases and objects, as a clip has that is worth them."""
    payload = Payload.from_bytes(data)
    rows = 2 if grey else 4
    weights = np.random.default_rng(0).integers(-6, 7, (rows, FEATURES))
    part = ByteWriter()
    part.varint(shipped_trunk().digest & 0xFFFF)
    part.u8(1 + 4 * (rows - 1))
    part.blob(encode_ints(weights))
    return replace(payload, parts={**payload.parts, "heads": part.getvalue()}).to_bytes()
