"""Alignment against motion that is known because it was made."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rinr_flower.alignment import camera, geometry, poses
from rinr_flower.alignment.bend import cell_flow
from rinr_flower.alignment.tracks import Track, link

NONE = np.zeros((0, 4), np.float32)


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random blobs with corners to track."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (height // 8 + 2, width // 8 + 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def test_corner_displacements_describe_a_homography_completely() -> None:
    matrix = np.array([[1.02, 0.03, -4.0], [-0.01, 0.98, 7.0], [1e-5, -2e-5, 1.0]])
    moved = geometry.moved_corners(matrix, 320, 200)
    np.testing.assert_allclose(geometry.from_corners(moved, 320, 200), matrix, atol=1e-9)


def test_homography_is_found_within_half_a_pixel_and_ignores_the_box() -> None:
    matrix = geometry.from_corners(np.array([[3.0, 1], [5, -2], [2, 4], [6, 2]]), 240, 180)
    source = texture(180, 240)
    target = cv2.warpPerspective(source, matrix, (240, 180), borderMode=cv2.BORDER_REFLECT)
    source[60:120, 80:160] = texture(60, 80, seed=5)  # an object that does not move with the scene
    target[60:120, 60:140] = texture(60, 80, seed=5)
    boxes = np.array([[80, 60, 160, 120]], np.float32)
    found = camera.homography(source, target, boxes)
    difference = geometry.moved_corners(found, 240, 180) - geometry.moved_corners(matrix, 240, 180)
    assert np.abs(difference).max() < 0.6


def test_an_object_without_a_box_does_not_move_a_standing_camera() -> None:
    source, moving = texture(180, 240), texture(70, 110, seed=9)
    target = source.copy()
    source[50:120, 60:170], target[50:120, 68:178] = moving, moving
    np.testing.assert_array_equal(camera.homography(source, target, NONE), np.eye(3))


def test_shots_are_split_at_a_cut_only() -> None:
    frames = [texture(120, 160)[:, k : k + 120] for k in range(4)]
    frames += [texture(120, 160, 7)[:, k : k + 120] for k in (0, 1)]
    frames = [np.ascontiguousarray(f) for f in frames]
    shots, steps = camera.find_shots(frames, [NONE] * 6)
    assert shots == [range(0, 4), range(4, 6)]
    np.testing.assert_array_equal(steps[4], np.eye(3))
    maps = camera.to_target(frames[:4], [NONE] * 4, steps[:4], 2)
    shift = geometry.moved_corners(maps[0], 120, 120).mean(axis=0)
    np.testing.assert_allclose(shift, [-2, 0], atol=0.3)  # frame 0 shows what frame 2 shows, two pixels further right


def test_tiny_and_flat_frames_stand_still() -> None:
    flat = np.full((60, 80), 90, np.uint8)
    np.testing.assert_array_equal(camera.homography(flat, flat, NONE), np.eye(3))
    tiny = texture(16, 16)
    assert camera.find_shots([tiny, tiny], [NONE, NONE])[0] == [range(0, 2)]


def test_boxes_are_linked_by_place_and_class_through_gaps_and_crossings() -> None:
    def box(x: float) -> list[float]:
        return [x, 10, x + 20, 40]

    boxes = [
        np.array([box(0), box(100)], np.float32),
        np.array([box(96), box(5)], np.float32),  # rows swapped
        np.array([box(92)], np.float32),  # the first is hidden
        np.array([box(88), box(15)], np.float32),
        np.array([box(300)], np.float32),  # far away: another object
    ]
    classes = [np.zeros(len(b), np.int64) for b in boxes]
    tracks = link(boxes, classes)
    assert Track((0, 1, 2, 3), (1, 0, 0, 0)) in tracks
    assert Track((0, 1, 3), (0, 1, 1)) in tracks
    assert Track((4,), (0,)) in tracks
    other = [np.zeros(2, np.int64), np.ones(2, np.int64)]
    assert len(link(boxes[:2], other)) == 4


def test_alignment_undoes_the_jitter_of_boxes() -> None:
    picture = texture(120, 160).astype(np.float32)
    rng = np.random.default_rng(1)
    boxes = [np.array([40, 30, 100, 80], np.float32) + rng.uniform(-3, 3, 4).astype(np.float32) for _ in range(8)]
    start = [geometry.box_pose(b, (50, 60), 0.0) for b in boxes]
    aligned = poses.align([picture] * 8, start, (50, 60), rounds=3)
    assert poses.spread([picture] * 8, aligned, (50, 60)) < 0.1 * poses.spread([picture] * 8, start, (50, 60))


@pytest.mark.parametrize("shift", [(1.5, 0.0), (-1.0, 2.0)])
def test_cell_flow_finds_a_shift_where_there_is_texture(shift: tuple[float, float]) -> None:
    predicted = texture(160, 200)
    matrix = np.array([[1, 0, -shift[0]], [0, 1, -shift[1]]], np.float32)  # frame(p) = predicted(p + shift)
    frame = cv2.warpAffine(predicted, matrix, (200, 160), borderMode=cv2.BORDER_REFLECT)
    flow = cell_flow(frame, predicted, np.ones((160, 200), np.float32), (4, 5))
    np.testing.assert_allclose(flow[:, 1:3, 1:4].mean(axis=(1, 2)), shift, atol=0.4)
    flat = np.full((160, 200), 90, np.uint8)
    assert np.abs(cell_flow(flat, flat, np.ones((160, 200), np.float32), (4, 5))).max() < 0.05
