"""One Triton kernel that draws SIRENs: coordinates, all layers, sines, residual and clamp. Importing it needs Triton.

A program draws one block of pixels of one item: a network over a window of a picture. The block's activations stay in
registers from the first layer to the last, and every layer's weights are read as the integers they are stored as and
pass through shared memory once a block. Networks of up to 8 bits are multiplied as float16, which holds their integers
exactly, and accumulated in float32 with the scale applied afterwards; wider ones as three TF32 products, which is
float32 but for the last bits. The first layer is always float32, because coordinates need more than float16 has.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit  # type: ignore[untyped-decorator]
def sine(value: tl.tensor) -> tl.tensor:
    """The sine to 1e-6 for values of up to a few thousand: reduced to -pi/2..pi/2, then an odd polynomial.

    ``tl.sin`` is exact for any value, but the branch for huge ones is compiled in once for every element.
    """
    turns = tl.floor(value * 0.3183098861837907 + 0.5)
    value = tl.fma(turns, -3.140625, value)  # pi in two parts: products with the first are exact
    value = tl.fma(turns, -0.0009676535897932384, value)
    square = value * value
    series = tl.fma(square, -0.00018387948, 0.008307439)  # least squares on 0..pi/2, error below 8e-7
    series = tl.fma(series, square, -0.1666498)
    series = tl.fma(series, square, 0.9999972)
    return value * series * (1 - 2 * (turns.to(tl.int32) & 1)).to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def draw_block(
    out: tl.tensor,  # float32 (pictures, 3, pixels)
    matrices: tl.tensor,  # float32 (pictures, 3, 3), output pixels to frame pixels
    values: tl.tensor,  # (networks, PARAMETERS) integers or float32, tensor after tensor
    scales: tl.tensor,  # float32 (networks, 2 * LAYERS + 2), one for each tensor
    numbers: tl.tensor,  # int32 (items, 4): network, picture, first and end of the windows that lie over it
    measures: tl.tensor,  # float32 (items, 7): x1, y1, x2, y2 of its window, 2 / width, 2 / height, gain
    windows: tl.tensor,  # float32 (all windows of all pictures, 4)
    pixels: tl.tensor,  # of one picture
    width: tl.tensor,  # of one picture
    blocks: tl.tensor,  # of one picture
    w0: tl.tensor,  # of the sines
    HIDDEN: tl.constexpr,  # noqa: N803  constants of a compiled kernel, in capitals as Triton has them
    LAYERS: tl.constexpr,  # noqa: N803
    PARAMETERS: tl.constexpr,  # noqa: N803
    PADDED: tl.constexpr,  # noqa: N803  HIDDEN rounded up to a power of two
    BLOCK: tl.constexpr,  # noqa: N803  pixels of a program
    WHOLE: tl.constexpr,  # noqa: N803  the item is the whole picture, repeated beyond its border
    ADDED: tl.constexpr,  # noqa: N803  the network's values are added to the picture instead of replacing it
    HALF: tl.constexpr,  # noqa: N803  multiply as float16
) -> None:
    """Draw block ``program % blocks`` of item ``program // blocks``."""
    item = tl.program_id(0) // blocks
    network = tl.load(numbers + item * 4).to(tl.int64)
    picture = tl.load(numbers + item * 4 + 1).to(tl.int64)
    pixel = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    px = (pixel % width).to(tl.float32) + 0.5
    py = (pixel // width).to(tl.float32) + 0.5
    m = matrices + picture * 9
    depth = px * tl.load(m + 6) + (py * tl.load(m + 7) + tl.load(m + 8))
    x = tl.div_rn(px * tl.load(m) + (py * tl.load(m + 1) + tl.load(m + 2)), depth)
    y = tl.div_rn(px * tl.load(m + 3) + (py * tl.load(m + 4) + tl.load(m + 5)), depth)
    measure = measures + item * 7
    left, top = tl.load(measure), tl.load(measure + 1)
    drawn = pixel < pixels
    if not WHOLE:
        drawn = drawn & (x >= left) & (x < tl.load(measure + 2)) & (y >= top) & (y < tl.load(measure + 3))
    if tl.max(drawn.to(tl.int32), 0) > 0:
        if not WHOLE:
            for over in range(tl.load(numbers + item * 4 + 2), tl.load(numbers + item * 4 + 3)):
                edge = windows + over * 4
                hidden_x = (x >= tl.load(edge)) & (x < tl.load(edge + 2))
                drawn = drawn & ~(hidden_x & (y >= tl.load(edge + 1)) & (y < tl.load(edge + 3)))
        x = tl.minimum(tl.maximum((x - left) * tl.load(measure + 4) - 1, -1.0), 1.0)
        y = tl.minimum(tl.maximum((y - top) * tl.load(measure + 5) - 1, -1.0), 1.0)
        unit = tl.arange(0, PADDED)
        used = unit < HIDDEN
        weights = values + network * PARAMETERS
        scale = scales + network * (2 * LAYERS + 2)
        across = tl.load(weights + unit, mask=used, other=0).to(tl.float32)
        down = tl.load(weights + HIDDEN + unit, mask=used, other=0).to(tl.float32)
        bias = tl.load(weights + 2 * HIDDEN + unit, mask=used, other=0).to(tl.float32) * tl.load(scale + 1)
        total = (x[:, None] * across[None, :] + y[:, None] * down[None, :]) * tl.load(scale)
        value = sine(w0 * (total + bias[None, :]))
        at = weights + 3 * HIDDEN
        for layer in range(1, LAYERS):
            square = at + unit[:, None] * HIDDEN + unit[None, :]
            weight = tl.load(square, mask=used[:, None] & used[None, :], other=0)
            bias = tl.load(at + HIDDEN * HIDDEN + unit, mask=used, other=0).to(tl.float32)
            if HALF:
                total = tl.dot(value.to(tl.float16), weight.to(tl.float16), out_dtype=tl.float32)
            else:
                total = tl.dot(value, weight.to(tl.float32), input_precision="tf32x3")
            shifted = total * tl.load(scale + 2 * layer) + (bias * tl.load(scale + 2 * layer + 1))[None, :]
            value = sine(w0 * shifted)
            at += HIDDEN * HIDDEN + HIDDEN
        gain = tl.load(measure + 6)
        for channel in tl.static_range(3):
            weight = tl.load(at + unit * 3 + channel, mask=used, other=0).to(tl.float32)
            bias = tl.load(at + HIDDEN * 3 + channel).to(tl.float32) * tl.load(scale + 2 * LAYERS + 1)
            colour = tl.sum(value * weight[None, :], axis=1) * tl.load(scale + 2 * LAYERS) + bias
            place = out + (picture * 3 + channel) * pixels + pixel
            below = 0.5
            if ADDED:
                below = tl.load(place, mask=drawn, other=0.0)
            tl.store(place, tl.minimum(tl.maximum(below + colour * gain, 0.0), 1.0), mask=drawn)
