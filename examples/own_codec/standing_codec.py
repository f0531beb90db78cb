"""A codec for cameras that do not move: one picture of what stands still, and every box of every frame."""

from dataclasses import dataclass

import numpy as np

from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs import Codec, Webp
from rinr_flower.codecs.classical import read_file
from rinr_flower.frames import Frame
from rinr_flower.rendering.pixels import PixelRenderer


@dataclass(frozen=True)
class Standing(Codec):
    """The median of all frames, and the boxes of each, as WebP files.

    Attributes
    ----------
    quality : of all WebP files, 0..100.
    """

    quality: int = 60

    def __post_init__(self):
        Webp(self.quality)  # a ConfigError says so if it is out of range

    def encode_parts(self, clips, *, seed, device, progress):
        parts = []
        for clip in clips:
            still = np.median(clip.images(), axis=0).astype(np.uint8)
            crops = [frame.image[window(box, frame.image)] for frame in clip.frames for box in frame.boxes]
            files = [Webp(self.quality).file_of(Frame(picture)) for picture in (still, *crops)]
            parts.append({"background": files[0], "object": pack_blobs(files[1:])})
        return parts

    @classmethod
    def renderer(cls, device):
        return StandingRenderer(device)


class StandingRenderer(PixelRenderer):
    """Decodes a payload once and keeps its pixels; the base class draws any size, crop and flip from them."""

    def decode(self, payload):
        still = read_file(payload.part("background"), "standing picture", [(payload.width, payload.height)])
        frames = [still.copy() for _ in range(len(payload))]
        places = [f[window(box, f)] for f, boxes in zip(frames, payload.boxes, strict=True) for box in boxes]
        files = unpack_blobs(payload.part("object"), len(places), "standing payload")
        for place, file in zip(places, files, strict=True):
            place[:] = read_file(file, "box of a standing payload", [(place.shape[1], place.shape[0])])
        return frames


def window(box, image):
    """The pixels that a box touches, one at least. Payloads keep boxes to 1/16 px, so the encoder rounds likewise."""
    x1, y1, x2, y2 = np.rint(np.float64(box) * 16).astype(int)
    x, y = min(x1 // 16, image.shape[1] - 1), min(y1 // 16, image.shape[0] - 1)
    return slice(y, max(-(-y2 // 16), y + 1)), slice(x, max(-(-x2 // 16), x + 1))
