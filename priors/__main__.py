"""Train the networks that ``scene`` ships: ``python priors --debian DIR``.

Training clips are coded, first with tables that know nothing, then with the network that came of it; each time the
context network is trained on what the coder met, and at the end the trunk on what the decoder lacked. The same command
gives the same files on the same machine.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import context
import numpy as np
import synthesis
import torch
from clips import training_clip
from photographs import photographs
from traces import trace

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs.scene import format as scene_format
from rinr_flower.codecs.scene.encode.analysis import analyse_clip
from rinr_flower.codecs.scene.encode.effort import PRESETS
from rinr_flower.codecs.scene.encode.encoder import Encoded, encode
from rinr_flower.codecs.scene.format import network, trunk
from rinr_flower.frames import Clip

OUT = Path(scene_format.__file__).parent
_TRACED = 60_000  # coefficients of each clip; set by hand: bounds memory and time, so that no clip outweighs others
_ROUND = 100_000  # seeds between the rounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--debian", type=Path, required=True, help="where lomiri-wallpapers-16.04 was unpacked")
    parser.add_argument("--clips", type=int, nargs=2, default=(12, 70), help="of the first and of the second round")
    parser.add_argument(
        "--steps", type=int, nargs=3, default=(1500, 4000, 1500), help="of training in each, and of the trunk"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    pictures = photographs(options.debian)
    (OUT / network.FILE).write_bytes(context.blank_network().to_bytes())
    (OUT / trunk.FILE).write_bytes(synthesis.blank_trunk().to_bytes())
    examples: list[synthesis.Example] = []
    for number, (clips, steps) in enumerate(zip(options.clips, options.steps[:2], strict=True)):
        forget()
        traces, counted, examples = [], [], []
        for seed in range(options.seed + number * _ROUND, options.seed + number * _ROUND + clips):
            started = time.monotonic()
            done = coded(training_clip(pictures, seed), seed)
            found, counts = trace(done.code, network.shipped(), _TRACED, seed)
            traces.append(found)
            counted.append(counts)
            examples += [synthesis.example(part) for part in (done.canvases, done.volumes) if part]
            print(f"clip {seed}: {time.monotonic() - started:.1f} s", flush=True)
        net = context.train(traces, options.seed, steps)
        (OUT / network.FILE).write_bytes(context.shipped_from(net, traces, counted).to_bytes())
    (OUT / trunk.FILE).write_bytes(synthesis.train(examples, options.seed, options.steps[2]).to_bytes())


def coded(clip: Clip, seed: int) -> Encoded:
    """A clip coded at a quality, an object weight and a preset that ``seed`` chooses."""
    rng = np.random.default_rng([seed, 1])
    quality, weight = rng.uniform(30, 75), np.exp(rng.uniform(np.log(4), np.log(200)))
    effort = PRESETS["fast" if rng.random() < 0.5 else "balanced"]
    boxes = Payload.from_bytes(Payload.of_clip("scene", clip, {}).to_bytes()).boxes
    step, finer = round((11.1 - 8 * quality / 100) * 16), round(np.log2(weight) / 2 * 16)
    return encode(
        analyse_clip(clip, boxes, 640, effort, step, max(step - finer, 0)), step, max(step - finer, 0), effort
    )


def forget() -> None:
    """Read the shipped files again when they are next needed."""
    network.shipped.cache_clear()
    trunk.shipped_trunk.cache_clear()


if __name__ == "__main__":
    main()
