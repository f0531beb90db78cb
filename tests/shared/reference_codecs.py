"""A second decoder of all codecs but ``scene``, by docs/format.md and docs/residual.md alone: numpy in float64.

It shares no code with the product; Pillow and PyAV decode the files of stills and the packets of video. ``decode``
takes what ``reference_coding.container`` finds in a payload and gives float64 RGB, cut off at 0 and 255. What the
product adds to payloads with key frames is not specified, and left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from math import ceil, erf, floor, pi, prod, sqrt

import numpy as np
import reference_scene
from PIL import Image, ImageOps
from reference_coding import Bytes, Container, one_to_one

Pictures = list[np.ndarray]  # (height, width, 3) each
Window = tuple[int, int, int, int]  # left, top, right, bottom in whole pixels
Place = tuple[int, int]  # frame, and row among its boxes
Tensors = list[np.ndarray]  # of a SIREN: weight and bias of every layer


def decode(payload: Container) -> np.ndarray:
    """All frames (frames, height, width, 3)."""
    return np.stack([np.asarray(picture, float) for picture in DECODERS[payload.codec](payload)]).clip(0, 255)


def scales(fields: Bytes, count: int) -> np.ndarray:
    """Section Weights: upper halves of float32."""
    halves = np.frombuffer(fields.raw(2 * count), "<u2").astype(np.uint32)
    return (halves << 16).view(np.float32).astype(float)


def floats(fields: Bytes, count: int) -> np.ndarray:
    """Section Weights: values at 32 bits."""
    return np.frombuffer(fields.raw(4 * count), "<f4").astype(float)


def values(fields: Bytes, count: int, bits: int) -> np.ndarray:
    """Section Weights: an integer block of the upper bits, and the packed lower ones."""
    upper, lower_bits = fields.block(count), max(bits - 8, 0)
    packed = np.frombuffer(fields.raw(-(-count * lower_bits // 8)), np.uint8)
    single = np.unpackbits(packed, bitorder="little")[: count * lower_bits].reshape(count, lower_bits)
    return (upper << lower_bits) + single @ (1 << np.arange(lower_bits))


def tensor(fields: Bytes, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Section Weights: one of a run of tensors."""
    if bits == 32:
        return floats(fields, prod(shape)).reshape(shape)
    scale = scales(fields, 1)
    return (values(fields, prod(shape), bits) * scale).reshape(shape)


def nerv(payload: Container) -> Pictures:
    """Section nerv."""
    fields = Bytes(payload.parts["background"])
    stem, channels, least, levels, bits, blocks = (fields.varint() for _ in range(6))
    strides = [fields.varint() for _ in range(blocks)]
    rows, columns = (-(-side // prod(strides)) for side in (payload.height, payload.width))

    def layer(outputs: int, *inputs: int) -> tuple[np.ndarray, np.ndarray]:
        return tensor(fields, (outputs, *inputs), bits), tensor(fields, (outputs,), bits)

    linear = [layer(stem, 2 * levels), layer(channels * rows * columns, stem)]
    widths = [channels, channels]
    for _ in strides[1:]:
        widths.append(max(widths[-1] // 2, least))
    convolutions = [layer(widths[k + 1] * stride**2, widths[k], 3, 3) for k, stride in enumerate(strides)]
    head_weight, head_bias = layer(3, widths[-1], 1, 1)
    assert not fields.rest()
    pictures = []
    for number in range(len(payload.boxes)):
        angles = pi * 1.25 ** np.arange(levels) * number / len(payload.boxes)
        signal = np.stack([np.sin(angles), np.cos(angles)], axis=1).reshape(-1)
        for weight, bias in linear:
            signal = gelu(weight @ signal + bias)
        maps = signal.reshape(channels, rows, columns)
        for (weight, bias), stride in zip(convolutions, strides, strict=True):
            maps = gelu(shuffled(convolved(maps, weight, bias), stride))
        colours = np.tanh(np.tensordot(head_weight[..., 0, 0], maps, 1) + head_bias[:, None, None])
        pictures.append((colours[:, : payload.height, : payload.width].transpose(1, 2, 0) + 1) * 127.5)
    return pictures


def gelu(inputs: np.ndarray) -> np.ndarray:
    """Section nerv: with the error function."""
    return inputs * (1 + np.vectorize(erf)(inputs / sqrt(2))) / 2


def convolved(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Section nerv: 3 x 3, zeros around the border."""
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.tensordot(weight, seen, ((1, 2, 3), (0, 3, 4))) + bias[:, None, None]


def shuffled(maps: np.ndarray, stride: int) -> np.ndarray:
    """Section nerv: channels to the rows and columns of cells."""
    height, width = maps.shape[1:]
    cells = maps.reshape(-1, stride, stride, height, width).transpose(0, 3, 1, 4, 2)
    return cells.reshape(-1, height * stride, width * stride)


def shared_networks(fields: Bytes, pictures: list[int], hidden: int, layers: int, bits: int) -> list[Tensors]:
    """docs/residual.md, Shared networks: one SIREN for every picture, networks that draw ``pictures`` each in order."""
    shapes = [(2, hidden), (hidden,), *[(hidden, hidden), (hidden,)] * (layers - 1), (hidden, 3), (3,)]
    sizes = [prod(shape) for shape in shapes]
    own_size, common_size, networks = sum(sizes[:2]), sum(sizes[2:]), len(pictures)
    if bits == 32:
        own = floats(fields, sum(pictures) * own_size).reshape(-1, own_size)
        common = floats(fields, networks * common_size).reshape(networks, common_size)
        factors = np.ones((networks, len(shapes)))
    else:
        factors = scales(fields, networks * len(shapes)).reshape(networks, len(shapes))
        common = values(fields, networks * common_size, bits).reshape(networks, common_size)
        own = first_layers(fields, pictures, own_size, bits)
    found = []
    for network, first_layer in zip(np.repeat(np.arange(networks), pictures), own, strict=True):
        flat = np.split(np.concatenate([first_layer, common[network]]), np.cumsum(sizes)[:-1])
        found.append([t.reshape(s) * f for t, s, f in zip(flat, shapes, factors[network], strict=True)])
    return found


def first_layers(fields: Bytes, pictures: list[int], size: int, bits: int) -> np.ndarray:
    """docs/residual.md, Shared networks, 3 and 4: values of the first layers, picture after picture."""
    first = values(fields, len(pictures) * size, bits).reshape(-1, size)
    later = sum(pictures) - len(pictures)
    if not later:
        return first
    mode = fields.u8()
    coded = iter(values(fields, later * size, bits).reshape(later, size))
    found = []
    for start, count in zip(first, pictures, strict=True):
        found.append(start)
        for _ in range(count - 1):
            found.append(next(coded) + {0: 0, 1: start, 2: found[-1]}[mode])
    return np.array(found)


def siren(network: Tensors, frequency: int, width: int, height: int) -> np.ndarray:
    """docs/residual.md, after Shared networks: the picture that a network draws, in -1..1."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    signal = np.stack([2 * columns / width - 1, 2 * rows / height - 1], axis=-1)
    for weight, bias in zip(network[:-2:2], network[1:-2:2], strict=True):
        signal = np.sin(frequency * (signal @ weight + bias))
    return signal @ network[-2] + network[-1]


def rapid_inr(payload: Container) -> Pictures:
    """docs/residual.md, table: background of ``rapid_inr``."""
    fields = Bytes(payload.parts["background"])
    hidden, layers, frequency, bits = (fields.varint() for _ in range(4))
    pictures: list[int] = []
    while sum(pictures) < len(payload.boxes):
        pictures.append(fields.varint())
    networks = shared_networks(fields, pictures, hidden, layers, bits)
    assert not fields.rest()
    return [127.5 + 127.5 * siren(network, frequency, payload.width, payload.height) for network in networks]


def window(box: np.ndarray, width: int, height: int, margin: int) -> Window | None:
    """Section roi_jpeg and roi_avif: the window of a box, ``margin`` pixels wider; None if nothing of it is left."""
    left, top = (max(floor(corner) - margin, 0) for corner in box[:2])
    right, bottom = (min(ceil(corner) + margin, side) for corner, side in zip(box[2:], (width, height), strict=True))
    return (left, top, right, bottom) if left < right and top < bottom else None


def area(place: Window) -> int:
    """Pixels of a window."""
    left, top, right, bottom = place
    return (right - left) * (bottom - top)


def residual(payload: Container) -> Pictures:
    """docs/residual.md, table: ``residual``."""
    pictures = list(decode(background_of(payload)))
    fields = Bytes(payload.parts["object"])
    mode, bits, shared = fields.u8(), fields.varint(), fields.varint()
    sizes = [tuple(fields.varint() for _ in range(4)) for _ in range(fields.varint())]
    windows = {
        (frame, row): found
        for frame, boxes in enumerate(payload.boxes) for row, box in enumerate(boxes)
        if (found := window(box, payload.width, payload.height, 0))
    }  # fmt: skip

    def size_of(group: list[Place]) -> int:
        largest = max(area(windows[place]) for place in group)
        return next(number for number, (limit, *_) in enumerate(sizes) if not limit or largest <= limit)

    drawn: dict[Place, np.ndarray] = {}
    groups = sorted(network_groups(payload, windows, shared))
    for number, (_, hidden, layers, frequency) in enumerate(sizes):
        chosen = [group for group in groups if size_of(group) == number]
        factors = scales(fields, len(chosen)) if mode == 1 else np.ones(len(chosen))
        networks = iter(shared_networks(fields, [len(g) for g in chosen], hidden, layers, bits) if chosen else [])
        for group, factor in zip(chosen, factors, strict=True):
            for place in group:
                left, top, right, bottom = windows[place]
                drawn[place] = 127.5 * factor * siren(next(networks), frequency, right - left, bottom - top)
    assert not fields.rest()
    plain = [picture.copy() for picture in pictures]
    for (frame, row), (left, top, right, bottom) in windows.items():
        inside = slice(top, bottom), slice(left, right)
        pictures[frame][inside] = drawn[frame, row] + (plain[frame][inside] if mode == 1 else 127.5)
    return pictures


def background_of(payload: Container) -> Container:
    """docs/residual.md, table, and docs/format.md, Codecs: the background's payload, whose frames have no boxes."""
    fields = Bytes(payload.parts["background"])
    codec = fields.blob().decode("ascii")
    parts = {name: part for name, part in payload.parts.items() if name != "object"} | {"background": fields.rest()}
    boxes, classes = [np.zeros((0, 4))] * len(payload.boxes), [np.zeros(0, int)] * len(payload.boxes)
    return replace(payload, codec=codec, parts=parts, boxes=boxes, classes=classes)


def network_groups(payload: Container, windows: dict[Place, Window], shared: int) -> list[list[Place]]:
    """docs/residual.md, step 2: which of the boxes that have ``windows`` each object network draws."""
    if shared == 1:
        return [[place] for place in windows]
    groups = []
    for track in reference_scene.tracks(payload.boxes, payload.classes):
        seen = [place for place in track if place in windows]
        parts = -(-len(seen) // shared)
        groups += [seen[k * len(seen) // parts : (k + 1) * len(seen) // parts] for k in range(parts)]
    return groups


def scene(payload: Container) -> Pictures:
    """Section scene, as the background of ``residual``; only frames that are no larger than the working picture."""
    size = (payload.height, payload.width)
    pictures = reference_scene.decode(payload.parts, payload.boxes, payload.classes, size)
    assert pictures.shape[1:3] == size
    return list(pictures)


def blobs(fields: Bytes, count: int) -> list[bytes]:
    """Section Codecs: ``count`` blobs, and nothing behind them."""
    found = [fields.blob() for _ in range(count)]
    assert not fields.rest()
    return found


def still(file: bytes) -> np.ndarray:
    """Section Codecs: a file, its EXIF orientation applied."""
    return np.array(ImageOps.exif_transpose(Image.open(BytesIO(file))).convert("RGB"))


def stills(payload: Container) -> Pictures:
    """Section Codecs: ``jpeg``, ``webp``, ``avif``."""
    return [still(file) for file in blobs(Bytes(payload.parts["background"]), len(payload.boxes))]


def roi_stills(payload: Container) -> Pictures:
    """Section roi_jpeg and roi_avif, but for what step 2 leaves open."""
    pictures: Pictures = []
    for file in blobs(Bytes(payload.parts["background"]), len(payload.boxes)):
        pictures.append(enlarged(still(file), payload.width, payload.height) if file else pictures[-1].copy())
    found = [[window(box, payload.width, payload.height, 2) for box in boxes] for boxes in payload.boxes]
    places = [(frame, place) for frame, windows in enumerate(found) for place in windows if place]
    files = blobs(Bytes(payload.parts["object"]), len(places))
    for (frame, (left, top, right, bottom)), file in zip(places, files, strict=True):
        if file:
            pictures[frame][top:bottom, left:right] = still(file)
    return pictures


def enlarged(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """Section roi_jpeg and roi_avif, step 1."""
    size = picture.shape[1::-1]
    reduction = next(k for k in range(1, 9) if size == (-(-width // k), -(-height // k)))
    if reduction == 1:
        return picture
    return stretched(picture, (width, height), (width / reduction, height / reduction), bicubic)


def bicubic(distance: np.ndarray) -> np.ndarray:
    """Section roi_jpeg and roi_avif, step 1: a = -0.5."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


def lanczos(distance: np.ndarray) -> np.ndarray:
    """Section Video: 3 lobes."""
    return np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0)


def stretched(
    picture: np.ndarray,
    size: tuple[int, int],
    part: tuple[float, float],
    kernel: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Section roi_jpeg and roi_avif, step 1: the first ``part`` = (width, height) of a picture at ``size``.

    Rounding, which the format leaves open, is Pillow's, so that pictures are equal: along x, then along y, each with
    a length in float32, weights of 22 binary places and a result in whole grey levels.
    """
    for axis, side, length in zip((1, 0), size, part, strict=True):
        centres = (np.arange(side) + 0.5) * (float(np.float32(length)) / side)
        weights = kernel(np.abs(np.arange(picture.shape[axis]) + 0.5 - centres[:, None]))
        weights = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2**22) / 2**22
        picture = np.moveaxis(np.tensordot(weights, picture, (1, axis)), 0, axis)
        picture = np.floor(picture + 0.5).clip(0, 255)
    return picture


def video(payload: Container) -> Pictures:
    """Section Video."""
    packets, width, height = coded(payload)
    return at_frame_size(video_pictures(packets, payload.codec, width, height), payload)


def coded(payload: Container) -> tuple[list[bytes], int, int]:
    """Section Video: packets of the background, and the size that frames are coded at."""
    fields = Bytes(payload.parts["background"])
    width, height = fields.varint(), payload.height
    if width < payload.width:
        height = max(1, (2 * height * width + payload.width) // (2 * payload.width))
    return blobs(fields, len(payload.boxes)), width, height


def video_pictures(packets: list[bytes], codec: str, width: int, height: int) -> Pictures:
    """Section Video: pictures in output order, in colour, without what pads them."""
    import av

    decoder = av.CodecContext.create({"av1": "libdav1d", "x264": "h264"}[codec], "r")
    decoder.thread_count = 1
    coded_width, coded_height = max(16, width + width % 2), max(16, height + height % 2)
    pictures = []
    for packet in [*map(av.Packet, packets), None]:
        for picture in decoder.decode(packet):
            samples = picture.to_ndarray().astype(float)
            assert samples.shape == (coded_height * 3 // 2, coded_width)
            luma, chroma = samples[:coded_height], samples[coded_height:].reshape(2, coded_height // 2, -1) - 128
            blue, red = map(doubled, chroma)
            colours = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue]
            pictures.append(np.stack(colours, axis=-1)[:height, :width].clip(0, 255))
    assert len(pictures) == len(packets)
    return pictures


def doubled(plane: np.ndarray) -> np.ndarray:
    """Section Video: chroma at twice its size, along y, then along x."""
    for _ in range(2):
        before, after = np.vstack([plane[:1], plane[:-1]]), np.vstack([plane[1:], plane[-1:]])
        rows = [0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after]
        plane = np.stack(rows, axis=1).reshape(2 * len(plane), -1).T
    return plane


def at_frame_size(pictures: Pictures, payload: Container) -> Pictures:
    """Section Video: stretched over the frame if they are coded smaller."""
    size, coded_size = (payload.width, payload.height), pictures[0].shape[1::-1]
    return pictures if coded_size[0] == size[0] else [stretched(p, size, coded_size, lanczos) for p in pictures]


def roi_video(payload: Container) -> Pictures:
    """Section Tracks of roi_av1 and roi_x264."""
    packets, width, height = coded(payload)
    codec = payload.codec.removeprefix("roi_")
    pictures = video_pictures(packets, codec, width, height)
    scaled = [(boxes * (width / payload.width)).astype(np.float32) for boxes in payload.boxes]
    windows = [[found for box in boxes if (found := window(box, width, height, 2))] for boxes in scaled]
    tracks = window_tracks(windows)
    for track, stream in zip(tracks, blobs(Bytes(payload.parts["object"]), len(tracks)), strict=True):
        corners = np.array([place for _, place in track])
        longest = (corners[:, 2:] - corners[:, :2]).max(axis=0)
        w, h = np.minimum(longest + longest % 2, (width, height)).tolist()
        crops = video_pictures(blobs(Bytes(stream), len(track)), codec, w, h)
        for (frame, (left, top, right, bottom)), crop in zip(track, crops, strict=True):
            x = min(max((left + right - w) // 2, 0), width - w)
            y = min(max((top + bottom - h) // 2, 0), height - h)
            pictures[frame][y : y + h, x : x + w] = crop
    return at_frame_size(pictures, payload)


def window_tracks(windows: list[list[Window]]) -> list[list[tuple[int, Window]]]:
    """Section Tracks of roi_av1 and roi_x264: the windows of every frame linked to lists of (frame, window)."""
    tracks: list[list[tuple[int, Window]]] = []
    for frame, found in enumerate(windows):
        pairs = [
            (-shared_area, number, row)
            for number, track in enumerate(tracks) if frame - track[-1][0] <= 9
            for row, place in enumerate(found) if (shared_area := overlap(track[-1][1], place)) >= 0.1
        ]  # fmt: skip
        linked = one_to_one(pairs)
        for number, row in linked:
            tracks[number].append((frame, found[row]))
        begun = set(range(len(found))) - {row for _, row in linked}
        tracks += [[(frame, found[row])] for row in sorted(begun)]
    return tracks


def overlap(first: Window, second: Window) -> float:
    """Section Tracks of roi_av1 and roi_x264: intersection over union."""
    left, top, right, bottom = *map(max, first[:2], second[:2]), *map(min, first[2:], second[2:])
    common = area((left, top, max(left, right), max(top, bottom)))
    return common / (area(first) + area(second) - common)


DECODERS: dict[str, Callable[[Container], Pictures]] = {
    "nerv": nerv,
    "rapid_inr": rapid_inr,
    "residual": residual,
    "scene": scene,
    **dict.fromkeys(("jpeg", "webp", "avif"), stills),
    **dict.fromkeys(("roi_jpeg", "roi_avif"), roi_stills),
    **dict.fromkeys(("av1", "x264"), video),
    **dict.fromkeys(("roi_av1", "roi_x264"), roi_video),
}
