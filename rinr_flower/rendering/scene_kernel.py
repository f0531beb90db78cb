"""One Triton kernel that draws scenes: sampling, blending of objects, colour and clamp. Importing it needs Triton.

A program draws one block of pixels of one picture. Planes are read as the integers that are resident, wherever they
lie: a table in device memory holds their addresses, so that the frames of any number of scenes are one launch. Each
plane has three numbers there (address, height, width) and two factors from the coordinates that it is looked up with
to its own pixels. Samples are float32; the border of a plane is repeated outside.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def tap(base: tl.tensor, width: tl.tensor, height: tl.tensor, x: tl.tensor, y: tl.tensor, live: tl.tensor) -> tl.tensor:
    """The value at column ``x`` of row ``y``, as float32."""
    column = tl.minimum(tl.maximum(x, 0), width - 1)
    row = tl.minimum(tl.maximum(y, 0), height - 1)
    return tl.load(base + (row * width + column), mask=live, other=0).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def bilinear(
    base: tl.tensor, width: tl.tensor, height: tl.tensor, x: tl.tensor, y: tl.tensor, live: tl.tensor
) -> tl.tensor:
    """A plane at points ``x``, ``y`` in its pixels, whose centres are at +0.5."""
    x = tl.minimum(tl.maximum(x - 0.5, 0.0), (width - 1).to(tl.float32))
    y = tl.minimum(tl.maximum(y - 0.5, 0.0), (height - 1).to(tl.float32))
    left, top = tl.floor(x), tl.floor(y)
    column, row = left.to(tl.int32), top.to(tl.int32)
    right, down = x - left, y - top
    above = tap(base, width, height, column, row, live) * (1 - right)
    above += tap(base, width, height, column + 1, row, live) * right
    below = tap(base, width, height, column, row + 1, live) * (1 - right)
    below += tap(base, width, height, column + 1, row + 1, live) * right
    return above * (1 - down) + below * down


@triton.jit  # type: ignore[untyped-decorator]
def near(distance: tl.tensor) -> tl.tensor:
    """Weight of a cubic convolution (Keys, a = -0.75) for a sample at most 1 away."""
    return (1.25 * distance - 2.25) * distance * distance + 1


@triton.jit  # type: ignore[untyped-decorator]
def far(distance: tl.tensor) -> tl.tensor:
    """The same for a sample between 1 and 2 away."""
    return ((-0.75 * distance + 3.75) * distance - 6) * distance + 3


@triton.jit  # type: ignore[untyped-decorator]
def across(
    base: tl.tensor,
    width: tl.tensor,
    height: tl.tensor,
    column: tl.tensor,
    row: tl.tensor,
    share: tl.tensor,
    live: tl.tensor,
) -> tl.tensor:
    """Cubic interpolation along a row, ``share`` of the way from ``column`` to the next."""
    total = tap(base, width, height, column - 1, row, live) * far(share + 1)
    total += tap(base, width, height, column, row, live) * near(share)
    total += tap(base, width, height, column + 1, row, live) * near(1 - share)
    return total + tap(base, width, height, column + 2, row, live) * far(2 - share)


@triton.jit  # type: ignore[untyped-decorator]
def bicubic(
    base: tl.tensor, width: tl.tensor, height: tl.tensor, x: tl.tensor, y: tl.tensor, live: tl.tensor
) -> tl.tensor:
    """As :func:`bilinear`, by cubic convolution."""
    # further out all taps are the border
    x = tl.minimum(tl.maximum(x - 0.5, -2.0), (width + 1).to(tl.float32))
    y = tl.minimum(tl.maximum(y - 0.5, -2.0), (height + 1).to(tl.float32))
    left, top = tl.floor(x), tl.floor(y)
    column, row = left.to(tl.int32), top.to(tl.int32)
    right, down = x - left, y - top
    total = across(base, width, height, column, row - 1, right, live) * far(down + 1)
    total += across(base, width, height, column, row, right, live) * near(down)
    total += across(base, width, height, column, row + 1, right, live) * near(1 - down)
    return total + across(base, width, height, column, row + 2, right, live) * far(2 - down)


@triton.jit  # type: ignore[untyped-decorator]
def along(matrix: tl.tensor, x: tl.tensor, y: tl.tensor, depth: tl.tensor) -> tl.tensor:
    """One coordinate of a homography whose row ``matrix`` points at; far outside for points at or near infinity."""
    value = tl.div_rn(x * tl.load(matrix) + (y * tl.load(matrix + 1) + tl.load(matrix + 2)), depth)
    return tl.where(tl.abs(value) < 1e6, value, -1e6)


@triton.jit  # type: ignore[untyped-decorator]
def depth_of(matrix: tl.tensor, x: tl.tensor, y: tl.tensor) -> tl.tensor:
    """The homogeneous coordinate of a homography."""
    return x * tl.load(matrix + 6) + (y * tl.load(matrix + 7) + tl.load(matrix + 8))


@triton.jit  # type: ignore[untyped-decorator]
def draw_block(
    out: tl.tensor,  # float32 (pictures, 3, pixels), RGB in 0..1
    matrices: tl.tensor,  # float32 (pictures, 3, 3), output pixels to frame pixels
    shown: tl.tensor,  # int32 (pictures,), numbers of frames
    frames: tl.tensor,  # int64 (frames, 17): canvas' luma, chroma, residual's luma, chroma, bend; first and end layer
    factors: tl.tensor,  # float32 (frames, 21): working pixels to canvas, frame to working pixels, a pair for a plane
    layers: tl.tensor,  # int64 (layers, 9): luma, chroma, mask
    poses: tl.tensor,  # float32 (layers, 15): working pixels to volume, a pair for a plane
    pixels: tl.tensor,  # of one picture
    width: tl.tensor,  # of one picture
    blocks: tl.tensor,  # of one picture
    bend_unit: tl.tensor,  # canvas pixels
    edge: tl.tensor,  # pixels of a volume over which it fades at its border
    BLOCK: tl.constexpr,  # noqa: N803  pixels of a program; a constant in capitals, as Triton has them
) -> None:
    """Draw block ``program % blocks`` of picture ``program // blocks``."""
    picture = (tl.program_id(0) // blocks).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    live = pixel < pixels
    px = (pixel % width).to(tl.float32) + 0.5
    py = (pixel // width).to(tl.float32) + 0.5
    number = tl.load(shown + picture).to(tl.int64)
    entry, factor = frames + number * 17, factors + number * 21
    m = matrices + picture * 9
    depth = depth_of(m, px, py)
    x = along(m, px, py, depth) * tl.load(factor + 9)
    y = along(m + 3, px, py, depth) * tl.load(factor + 10)

    depth = depth_of(factor, x, y)
    cx, cy = along(factor, x, y, depth), along(factor + 3, x, y, depth)
    bend = tl.load(entry + 12)
    if bend != 0:
        h, w = tl.load(entry + 13).to(tl.int32), tl.load(entry + 14).to(tl.int32)
        bx, by = x * tl.load(factor + 19), y * tl.load(factor + 20)
        plane = bend.to(tl.pointer_type(tl.int8))
        cx += bilinear(plane, w, h, bx, by, live) * bend_unit
        cy += bilinear(plane + h * w, w, h, bx, by, live) * bend_unit
    h, w = tl.load(entry + 1).to(tl.int32), tl.load(entry + 2).to(tl.int32)
    luma = bicubic(tl.load(entry).to(tl.pointer_type(tl.int8)), w, h, cx, cy, live)
    blue, red = tl.zeros_like(luma), tl.zeros_like(luma)
    coloured = tl.load(entry + 3)
    if coloured != 0:
        h, w = tl.load(entry + 4).to(tl.int32), tl.load(entry + 5).to(tl.int32)
        qx, qy = cx * tl.load(factor + 13), cy * tl.load(factor + 14)
        plane = coloured.to(tl.pointer_type(tl.int8))
        blue = bilinear(plane, w, h, qx, qy, live)
        red = bilinear(plane + h * w, w, h, qx, qy, live)
    residual = tl.load(entry + 6)
    if residual != 0:
        h, w = tl.load(entry + 7).to(tl.int32), tl.load(entry + 8).to(tl.int32)
        qx, qy = x * tl.load(factor + 15), y * tl.load(factor + 16)
        luma += bilinear(residual.to(tl.pointer_type(tl.int8)), w, h, qx, qy, live)
    residual = tl.load(entry + 9)
    if residual != 0:
        h, w = tl.load(entry + 10).to(tl.int32), tl.load(entry + 11).to(tl.int32)
        qx, qy = x * tl.load(factor + 17), y * tl.load(factor + 18)
        plane = residual.to(tl.pointer_type(tl.int8))
        blue += bilinear(plane, w, h, qx, qy, live)
        red += bilinear(plane + h * w, w, h, qx, qy, live)

    for layer in range(tl.load(entry + 15).to(tl.int32), tl.load(entry + 16).to(tl.int32)):
        entry_of, pose = layers + layer * 9, poses + layer * 15
        h, w = tl.load(entry_of + 1).to(tl.int32), tl.load(entry_of + 2).to(tl.int32)
        high, wide = h.to(tl.float32), w.to(tl.float32)
        depth = depth_of(pose, x, y)
        lx, ly = along(pose, x, y, depth), along(pose + 3, x, y, depth)
        inside = live & (lx > 0) & (lx < wide) & (ly > 0) & (ly < high)
        if tl.max(inside.to(tl.int32), 0) > 0:
            rim = tl.minimum(tl.minimum(lx, wide - lx), tl.minimum(ly, high - ly))
            share = tl.where(inside, tl.minimum(tl.maximum(rim / edge, 0.0), 1.0), 0.0)
            volume = bicubic(tl.load(entry_of).to(tl.pointer_type(tl.int16)), w, h, lx, ly, inside)
            h, w = tl.load(entry_of + 7).to(tl.int32), tl.load(entry_of + 8).to(tl.int32)
            qx, qy = lx * tl.load(pose + 13), ly * tl.load(pose + 14)
            hidden = bilinear(tl.load(entry_of + 6).to(tl.pointer_type(tl.float32)), w, h, qx, qy, inside)
            luma += share * (volume - hidden * luma)
            if coloured != 0:
                h, w = tl.load(entry_of + 4).to(tl.int32), tl.load(entry_of + 5).to(tl.int32)
                qx, qy = lx * tl.load(pose + 11), ly * tl.load(pose + 12)
                plane = tl.load(entry_of + 3).to(tl.pointer_type(tl.int16))
                blue += share * (bicubic(plane, w, h, qx, qy, inside) - hidden * blue)
                red += share * (bicubic(plane + h * w, w, h, qx, qy, inside) - hidden * red)

    place = out + picture * 3 * pixels + pixel
    for channel in tl.static_range(3):
        if channel == 0:
            value = luma + 1.402 * red
        elif channel == 1:
            value = luma - 0.344136 * blue - 0.714136 * red
        else:
            value = luma + 1.772 * blue
        value = tl.minimum(tl.maximum((value + 128) / 255, 0.0), 1.0)
        tl.store(place + channel * pixels, value, mask=live)
