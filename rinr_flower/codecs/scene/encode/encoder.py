"""Closed-form encoding of an analysed clip at given quantiser steps: canvas, residual, objects, in that order.

Each part is coded against what the decoder will have made of the parts before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from rinr_flower.codecs.scene.decode.build import build_shot, canvas_step, empty_scene
from rinr_flower.codecs.scene.decode.resident import OpenScene
from rinr_flower.codecs.scene.decode.volume import forward, inverse
from rinr_flower.codecs.scene.encode.analysis import Analysis
from rinr_flower.codecs.scene.encode.appearance import code_objects
from rinr_flower.codecs.scene.encode.canvas import best_canvas, canvas_weights
from rinr_flower.codecs.scene.encode.effort import Effort
from rinr_flower.codecs.scene.encode.heads import Coded, solved
from rinr_flower.codecs.scene.encode.quantise import quantise
from rinr_flower.codecs.scene.encode.residual import code_residuals
from rinr_flower.codecs.scene.format.code import SceneCode
from rinr_flower.codecs.scene.format.lattice import Kind

_CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Encoded:
    """A coded clip; its scene as it is drawn but for the objects' head; its canvases and volumes of objects without
    heads, from which a trunk learns."""

    code: SceneCode
    scene: OpenScene
    canvases: list[Coded]
    volumes: list[Coded]


def encode(found: Analysis, step_code: int, object_step_code: int, effort: Effort) -> Encoded:
    """Code ``found`` with ``effort`` at steps in 1/STEPS_PER_OCTAVE octaves."""
    done = encode_background(found, step_code, object_step_code, effort)
    return replace(done, volumes=code_objects(found, done.code, done.scene, effort))


def encode_background(found: Analysis, step_code: int, object_step_code: int, effort: Effort) -> Encoded:
    """Code ``found`` without its objects."""
    code = SceneCode(found.size, found.grey, step_code, object_step_code)
    code.shots = [replace(shot) for shot in found.shots]
    code.parts = found.parts
    scene = empty_scene(code)
    start = 0
    starts, volumes, steps, weights = [], [], [], []
    for shot in code.shots:
        starts.append(start)
        pick = slice(start, start + shot.frames)
        if start not in found.canvases:
            planes = [p[pick] for p in found.planes]
            found.canvases[start] = best_canvas(
                shot, planes, found.boxes[pick], found.size, effort.canvas_rounds, code.step
            )
        volumes.append(forward(found.canvases[start]))
        weights.append(canvas_weights(shot, found.boxes[pick], found.size, volumes[-1]))
        steps.append(code.canvas_shape(shot).steps(canvas_step(code.step, shot.frames)))
        start += shot.frames
    chosen = quantise(Kind.CANVAS, volumes, steps, effort.quantise_rounds, weights)
    canvases = []
    for shot, start, bands, own in zip(code.shots, starts, chosen, steps, strict=True):
        shot.canvas_bands = bands
        decoded = inverse(bands[:1], own[:1])
        canvases.append(Coded(decoded, found.canvases[start][:1], own[0], weight=shot.frames))
    if any(shot.frames > 1 for shot in code.shots):  # the synthesis of one canvas a frame would take long to arrive
        code.canvas_head = solved(canvases, code.step)
    for shot in code.shots:
        scene.shots.append(build_shot(code, shot, _CPU))
    code_residuals(found, code, scene, starts, effort)
    return Encoded(code, scene, canvases, [])
