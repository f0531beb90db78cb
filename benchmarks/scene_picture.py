"""The figure of docs/scene.md: what one frame of a payload is made of."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs
from rinr_flower.codecs.scene.decode.renderer import open_scene
from rinr_flower.codecs.scene.decode.sampling import centres, to_rgb
from rinr_flower.datasets import load

FRAME, GAP, LABEL = 12, 34, 30
WORDS = (139, 148, 158, 255)  # readable on white and on black


def picture(values: torch.Tensor, size: tuple[int, int]) -> Image.Image:
    """RGB picture of ``values`` (3, n): luma and chroma about 0."""
    rgb = to_rgb(values[0], values[1:]).clamp(0, 1).reshape(3, *size).permute(1, 2, 0)
    return Image.fromarray((rgb * 255).round().byte().numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=Path("docs/images/scene.png"), help="the picture")
    out = parser.parse_args().out
    clip = load("sample:sequences=1,frames=16,width=320,height=192")[0]
    payload = Payload.from_bytes(codecs.create("scene").encode(clip))
    scene = open_scene(payload, torch.device("cpu"))
    shot, points = scene.shots[0], centres(*scene.size)
    size = tuple(shot.canvas.luma.shape[2:])
    chroma = torch.nn.functional.interpolate(shot.canvas.chroma.float(), size, mode="bilinear")
    canvas = picture(torch.cat([shot.canvas.luma.float(), chroma], 1)[0].flatten(1), size)
    whole, background = scene.at(FRAME, points), scene.background(FRAME, points)
    residual, shot.residual = shot.residual, None
    lacking = background - scene.background(FRAME, points)
    shot.residual = residual
    steps = [
        ("canvas, one for the clip", canvas),
        ("+ residual of the frame (x4)", picture(4 * lacking, scene.size)),
        ("+ object over it", picture(whole - background, scene.size)),
        ("= frame as received", picture(whole, scene.size)),
        ("camera", Image.fromarray(clip.frames[FRAME].image)),
    ]
    height = max(image.height for _, image in steps)
    sheet = Image.new("RGBA", (sum(i.width for _, i in steps) + GAP * (len(steps) - 1), height + LABEL))
    draw, font, left = ImageDraw.Draw(sheet), ImageFont.load_default(22), 0
    for title, image in steps:
        draw.text((left, 0), title, font=font, fill=WORDS)
        sheet.paste(image, (left, LABEL + (height - image.height) // 2))
        left += image.width + GAP
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main()
