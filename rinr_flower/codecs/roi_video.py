"""Two layers of video: the whole clip coarse, and for each object a fine clip of its crops pasted over it.

Where the crops lie is not sent: both sides link the payload's boxes to tracks.
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
from rinr_flower.codecs.roi import Boxes, crop, paste, still_windows, stored_boxes
from rinr_flower.codecs.video import (
    VideoRenderer,
    VideoStream,
    X264Preset,
    av1_stream,
    check_max_width,
    resize,
    split_width,
    with_width,
    working_size,
    x264_stream,
)
from rinr_flower.errors import PayloadError
from rinr_flower.frames import Clip, Window

MIN_OVERLAP = 0.1
"""Least intersection over union of boxes in consecutive appearances that makes them one track."""
MAX_GAP_FRAMES = 8
"""Frames for which an object may be absent without its track ending."""
MAX_PAIRS, MAX_PAIRS_IN_CLIP = 1 << 20, 1 << 24
"""Pairs of boxes that linking may compare for one frame, and for all frames of a clip."""


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
    """Link boxes from frame to frame, the best overlaps first; a box that overlaps no open track starts one.

    PayloadError if there are more boxes at a time than MAX_PAIRS and MAX_PAIRS_IN_CLIP allow to compare.
    """
    tracks: list[Track] = []
    live: list[Track] = []
    compared = 0
    for index, windows in enumerate(still_windows(boxes, width, height)):
        live = [t for t in live if index - t.frames[-1] <= 1 + MAX_GAP_FRAMES]
        compared += len(live) * len(windows)
        if len(live) * len(windows) > MAX_PAIRS or compared > MAX_PAIRS_IN_CLIP:
            raise PayloadError(f"too many boxes to link: {len(windows):,} in frame {index}, {len(live):,} before it")
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
                live.append(linked[j])
            linked[j].frames.append(index)
            linked[j].boxes.append(window)
    return tracks


def _overlaps(a: list[Window], b: list[Window]) -> NDArray[np.float64]:
    """Intersection over union of every window of ``a`` with every one of ``b``: float64 (len(a), len(b))."""
    p, q = np.array(a, np.int64).reshape(-1, 1, 4), np.array(b, np.int64).reshape(1, -1, 4)
    inner = (np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2])).clip(0).prod(axis=-1)
    areas = (p[..., 2:] - p[..., :2]).prod(axis=-1) + (q[..., 2:] - q[..., :2]).prod(axis=-1)
    return np.asarray(inner / (areas - inner), np.float64)


class VideoRoi(Codec):
    """Video: the clip as one coarse stream in the background part, a fine stream per object in the object part.

    Attributes
    ----------
    max_width : in pixels; wider frames, and the objects in them, are coded at this width, and come back at the camera's
        size. None: no limit.
    """

    max_width: int | None

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
            size = working_size(clip.width, clip.height, self.max_width)
            images = [resize(f.image, size) for f in clip.frames]
            for track in tracks_of(_scaled(stored_boxes(self.name, clip), size[0] / clip.width), *size):
                crops = [crop(images[i], w) for i, w in zip(track.frames, track.windows(*size), strict=True)]
                streams.append(self.fine().write(crops))
            background = with_width(size, self.coarse().write(images))
            parts.append({"background": background, "object": pack_blobs(streams)})
            if progress is not None:
                progress(done / len(clips))
        return list(parts)

    @classmethod
    def renderer(cls, device: torch.device) -> VideoRoiRenderer:
        return VideoRoiRenderer(device, cls().coarse())


class VideoRoiRenderer(VideoRenderer):
    """A coarse video stream with the objects' streams pasted in."""

    def decode(self, payload: Payload) -> list[NDArray[np.uint8]]:
        what = f"the video of a {payload.codec} payload"
        size, video = split_width(payload, what)
        images = self._stream.read(video, len(payload), *size, what)
        tracks = tracks_of(_scaled(payload.boxes, size[0] / payload.width), *size)
        streams = unpack_blobs(payload.part("object"), len(tracks), f"{payload.codec} objects")
        for number, (track, stream) in enumerate(zip(tracks, streams, strict=True)):
            windows, name = track.windows(*size), f"object {number} of a {payload.codec} payload"
            x1, y1, x2, y2 = windows[0]
            crops = self._stream.read(stream, len(windows), x2 - x1, y2 - y1, name)
            for index, picture, window in zip(track.frames, crops, windows, strict=True):
                paste(images[index], picture, window, name)
        return [resize(image, (payload.width, payload.height)) for image in images]


@codecs.register("roi_av1")
@dataclass(frozen=True)
class RoiAv1(VideoRoi):
    """AV1 in two layers: the clip at ``crf``, every object at ``box_crf``.

    Attributes
    ----------
    crf : of the clip, 1 (fine) to 63 (coarse).
    box_crf : of the objects' crops, 1 (fine) to 63 (coarse).
    preset : of both, 0 (small) to 13 (fast).
    """

    crf: int = 58
    box_crf: int = 40
    preset: int = 4
    max_width: int | None = None

    def __post_init__(self) -> None:
        self.coarse(), self.fine()
        check_max_width("roi_av1", self.max_width)

    def coarse(self) -> VideoStream:
        return av1_stream(self.crf, self.preset)

    def fine(self) -> VideoStream:
        return av1_stream(self.box_crf, self.preset)


@codecs.register("roi_x264")
@dataclass(frozen=True)
class RoiX264(VideoRoi):
    """H.264 in two layers: the clip at ``crf``, every object at ``box_crf``.

    Attributes
    ----------
    crf : of the clip, 0 (fine) to 51 (coarse).
    box_crf : of the objects' crops, 0 (fine) to 51 (coarse).
    preset : of both: ultrafast, superfast, veryfast, faster, fast, medium, slow, slower, veryslow or placebo.
    """

    crf: int = 38
    box_crf: int = 26
    preset: X264Preset = "medium"
    max_width: int | None = None

    def __post_init__(self) -> None:
        self.coarse(), self.fine()
        check_max_width("roi_x264", self.max_width)

    def coarse(self) -> VideoStream:
        return x264_stream(self.crf, self.preset)

    def fine(self) -> VideoStream:
        return x264_stream(self.box_crf, self.preset)


def _scaled(boxes: Boxes, scale: float) -> Boxes:
    return boxes if scale == 1 else [(b.astype(np.float64) * scale).astype(np.float32) for b in boxes]
