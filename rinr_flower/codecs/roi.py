"""Two layers: a coarse picture of the whole frame, and a fine crop of each box pasted over it.

The classical counterpart of Residual-INR: the same division into background and object, in the codecs that a device may
already have. Where the crops lie is not sent: both sides work it out from the payload's boxes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rinr_flower.bitstream.container import Payload
from rinr_flower.bitstream.stream import pack_blobs, unpack_blobs
from rinr_flower.codecs.base import Codec, Progress, codecs
from rinr_flower.codecs.classical import check_range, read_file, write_avif
from rinr_flower.codecs.video import VideoStream, X264Preset, av1_stream, x264_stream
from rinr_flower.decoding.pixels import PixelRenderer
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Clip, write_jpeg

MARGIN_PX = 2
"""Pixels around each box that its crop covers too. Fixed by the format: the decoder uses the same."""
MIN_OVERLAP = 0.1
"""Least intersection over union of boxes in consecutive appearances that makes them one track."""
MAX_GAP_FRAMES = 8
"""Frames for which an object may be absent without its track ending."""

Boxes = Sequence[NDArray[np.float32]]
Window = tuple[int, int, int, int]


def still_windows(boxes: Boxes, width: int, height: int) -> list[list[Window]]:
    """Per frame, the crop of each box as x1, y1, x2, y2: rounded outward, MARGIN_PX wider, cut at the frame's edges.

    A box that lies outside the frame has no crop.
    """
    windows = []
    for rows in boxes:
        here = []
        for box in rows.astype(np.float64):
            x1, y1 = (max(0, int(v) - MARGIN_PX) for v in np.floor(box[:2]))
            x2, y2 = (min(s, int(v) + MARGIN_PX) for v, s in zip(np.ceil(box[2:]), (width, height), strict=True))
            if x1 < x2 and y1 < y2:
                here.append((x1, y1, x2, y2))
        windows.append(here)
    return windows


@dataclass(eq=False)
class Track:
    """One object through the clip: the frames it appears in, and the crop its box wants in each."""

    frames: list[int] = field(default_factory=list)
    boxes: list[Window] = field(default_factory=list)

    def windows(self, width: int, height: int) -> list[Window]:
        """Crops of one size, the largest box's rounded up to even, centred on the boxes and moved into the frame."""
        corners = np.array(self.boxes)
        sides = (corners[:, 2:] - corners[:, :2]).max(axis=0)
        w, h = (min(int(s + s % 2), limit) for s, limit in zip(sides, (width, height), strict=True))
        windows = []
        for x1, y1, x2, y2 in self.boxes:
            x, y = min(max(0, (x1 + x2 - w) // 2), width - w), min(max(0, (y1 + y2 - h) // 2), height - h)
            windows.append((x, y, x + w, y + h))
        return windows


def tracks_of(boxes: Boxes, width: int, height: int) -> list[Track]:
    """Link boxes from frame to frame, the best overlaps first; a box that overlaps no open track starts one."""
    tracks: list[Track] = []
    for index, windows in enumerate(still_windows(boxes, width, height)):
        live = [t for t in tracks if index - t.frames[-1] <= 1 + MAX_GAP_FRAMES]
        overlaps = _overlaps([t.boxes[-1] for t in live], windows)
        rows, columns = np.nonzero(overlaps >= MIN_OVERLAP)
        order = np.lexsort((columns, rows, -overlaps[rows, columns]))
        linked: dict[int, Track] = {}
        used: set[int] = set()
        for i, j in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if i not in used and j not in linked:
                used.add(i)
                linked[j] = live[i]
        for j, window in enumerate(windows):
            if j not in linked:
                linked[j] = Track()
                tracks.append(linked[j])
            linked[j].frames.append(index)
            linked[j].boxes.append(window)
    return tracks


def _overlaps(a: list[Window], b: list[Window]) -> NDArray[np.float64]:
    """Intersection over union of every window of ``a`` with every one of ``b``: float64 (len(a), len(b))."""
    p, q = np.array(a, np.int64).reshape(-1, 1, 4), np.array(b, np.int64).reshape(1, -1, 4)
    inner = (np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2])).clip(0).prod(axis=-1)
    areas = (p[..., 2:] - p[..., :2]).prod(axis=-1) + (q[..., 2:] - q[..., :2]).prod(axis=-1)
    return np.asarray(inner / (areas - inner), np.float64)


class StillRoi(Codec):
    """Image files: one coarse file a frame in the background part, one fine file a box in the object part."""

    @abstractmethod
    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        """The whole frame as a file."""

    @abstractmethod
    def fine(self, image: NDArray[np.uint8]) -> bytes:
        """A box's crop as a file."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        total, done, parts = sum(map(len, clips)), 0, []
        for clip in clips:
            frames, crops = [], []
            windows = still_windows(_stored_boxes(self.name, clip), clip.width, clip.height)
            for frame, here in zip(clip.frames, windows, strict=True):
                frames.append(self.coarse(frame.image))
                crops += [self.fine(_crop(frame.image, w)) for w in here]
                done += 1
                if progress is not None:
                    progress(done / total)
            parts.append({"background": pack_blobs(frames), "object": pack_blobs(crops)})
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> StillRoiRenderer:
        return StillRoiRenderer(device)


class StillRoiRenderer(PixelRenderer):
    """Coarse image files with fine ones pasted in."""

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        windows = still_windows(payload.boxes, payload.width, payload.height)
        frames = unpack_blobs(payload.part("background"), len(payload), f"{payload.codec} payload")
        crops = iter(unpack_blobs(payload.part("object"), sum(map(len, windows)), f"{payload.codec} crops"))
        images = []
        for index, (file, here) in enumerate(zip(frames, windows, strict=True)):
            image = read_file(file, f"frame {index} of a {payload.codec} payload").copy()
            for window in here:
                name = f"a crop of frame {index} of a {payload.codec} payload"
                _paste(image, read_file(next(crops), name), window, name)
            images.append(image)
        return images


@codecs.register("roi_jpeg")
@dataclass(frozen=True)
class RoiJpeg(StillRoi):
    """JPEG in two layers: every frame at ``quality``, every box at ``box_quality`` (1..95)."""

    quality: int = 10
    box_quality: int = 85

    def __post_init__(self) -> None:
        check_range("roi_jpeg quality", self.quality, 1, 95)
        check_range("roi_jpeg box_quality", self.box_quality, 1, 95)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.quality)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_jpeg(image, self.box_quality)


@codecs.register("roi_avif")
@dataclass(frozen=True)
class RoiAvif(StillRoi):
    """AVIF in two layers: every frame at ``quality``, every box at ``box_quality`` (0..100); ``speed`` 0..10."""

    quality: int = 15
    box_quality: int = 60
    speed: int = 6

    def __post_init__(self) -> None:
        check_range("roi_avif quality", self.quality, 0, 100)
        check_range("roi_avif box_quality", self.box_quality, 0, 100)
        check_range("roi_avif speed", self.speed, 0, 10)

    def coarse(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.quality, self.speed)

    def fine(self, image: NDArray[np.uint8]) -> bytes:
        return write_avif(image, self.box_quality, self.speed)


class VideoRoi(Codec):
    """Video: the clip as one coarse stream in the background part, a fine stream per object in the object part."""

    @abstractmethod
    def coarse(self) -> VideoStream:
        """The encoder of the whole frames."""

    @abstractmethod
    def fine(self) -> VideoStream:
        """The encoder of the crops."""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        parts = []
        for done, clip in enumerate(clips, start=1):
            streams = []
            for track in tracks_of(_stored_boxes(self.name, clip), clip.width, clip.height):
                windows = track.windows(clip.width, clip.height)
                crops = [_crop(clip.frames[i].image, w) for i, w in zip(track.frames, windows, strict=True)]
                streams.append(self.fine().write(crops))
            parts.append(
                {"background": self.coarse().write([f.image for f in clip.frames]), "object": pack_blobs(streams)}
            )
            if progress is not None:
                progress(done / len(clips))
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> VideoRoiRenderer:
        return VideoRoiRenderer(device, cls().coarse())


class VideoRoiRenderer(PixelRenderer):
    """A coarse video stream with the objects' streams pasted in."""

    def __init__(self, device: torch.device, stream: VideoStream) -> None:
        super().__init__(device)
        self._stream = stream

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        width, height, what = payload.width, payload.height, f"the video of a {payload.codec} payload"
        tracks = tracks_of(payload.boxes, width, height)
        streams = unpack_blobs(payload.part("object"), len(tracks), f"{payload.codec} objects")
        images = self._stream.read(payload.part("background"), len(payload), width, height, what)
        for number, (track, stream) in enumerate(zip(tracks, streams, strict=True)):
            windows, name = track.windows(width, height), f"object {number} of a {payload.codec} payload"
            x1, y1, x2, y2 = windows[0]
            crops = self._stream.read(stream, len(windows), x2 - x1, y2 - y1, name)
            for index, crop, window in zip(track.frames, crops, windows, strict=True):
                _paste(images[index], crop, window, name)
        return images


@codecs.register("roi_av1")
@dataclass(frozen=True)
class RoiAv1(VideoRoi):
    """AV1 in two layers: the clip at ``crf``, every object at ``box_crf`` (1 fine to 63 coarse); ``preset`` 0..13."""

    crf: int = 58
    box_crf: int = 40
    preset: int = 4

    def __post_init__(self) -> None:
        self.coarse(), self.fine()

    def coarse(self) -> VideoStream:
        return av1_stream(self.crf, self.preset)

    def fine(self) -> VideoStream:
        return av1_stream(self.box_crf, self.preset)


@codecs.register("roi_x264")
@dataclass(frozen=True)
class RoiX264(VideoRoi):
    """H.264 in two layers: the clip at ``crf``, every object at ``box_crf`` (0 fine to 51 coarse)."""

    crf: int = 38
    box_crf: int = 26
    preset: X264Preset = "medium"

    def __post_init__(self) -> None:
        self.coarse(), self.fine()

    def coarse(self) -> VideoStream:
        return x264_stream(self.crf, self.preset)

    def fine(self) -> VideoStream:
        return x264_stream(self.box_crf, self.preset)


def _stored_boxes(codec: str, clip: Clip) -> Boxes:
    """The clip's boxes as a decoder will see them, rounded to what the container holds."""
    return Payload.from_bytes(Payload.of_clip(codec, clip, {}).to_bytes()).boxes


def _crop(image: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    x1, y1, x2, y2 = window
    return np.ascontiguousarray(image[y1:y2, x1:x2])


def _paste(image: NDArray[np.uint8], crop: NDArray[np.uint8], window: Window, name: str) -> None:
    x1, y1, x2, y2 = window
    if crop.shape[:2] != (y2 - y1, x2 - x1) or image[y1:y2, x1:x2].shape != crop.shape:
        raise PayloadError(f"{name} is {crop.shape[1]}x{crop.shape[0]} pixels; its box asks for {x2 - x1}x{y2 - y1}")
    image[y1:y2, x1:x2] = crop
