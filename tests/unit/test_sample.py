"""The generated sample: the same pixels everywhere, independent of how much is asked for, labels that fit."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image, features

from rinr_flower.datasets import cutouts, load
from rinr_flower.datasets.motion import NOISE_DEVIATION, Path, Stream, turn
from rinr_flower.datasets.sampling import UNIT, halve, pack, sample
from rinr_flower.datasets.scene import BACKGROUNDS, DISTRACTORS, Scene
from rinr_flower.errors import ConfigError, DataError

PIXELS_SHA256 = {
    "devices": "f4dfec2e7a8e11539a7061cf20ff38ab917cde82dba46fb1593ed5fba7393b44",
    "factory": "11f51d4dbba348c1dc268b9ae8f2eeaee4b14040df0bb1cd2f789e2d2924fcda",
}
FILES_SHA256 = "41f4ba97812d798484875ea276afb525ebf19073f4e36fa8ae6594bc7466b6ca"


@pytest.mark.parametrize("family", PIXELS_SHA256)
def test_pixels_before_compression_are_the_golden_ones(family: str) -> None:
    digest = hashlib.sha256()
    for number in range(len(BACKGROUNDS[family]) + 1):
        scene = Scene(family, number, 0, width=160, height=90, frames=41)
        for frame in (0, 17, 40):
            picture, boxes = scene.render(frame)
            digest.update(picture.tobytes())
            digest.update(np.rint(boxes * 1024).astype("<i8").tobytes())
    assert digest.hexdigest() == PIXELS_SHA256[family]


@pytest.mark.skipif(features.version("libjpeg_turbo") != "3.2.0", reason="files depend on the version of libjpeg-turbo")
def test_files_are_the_golden_ones_for_the_pinned_pillow() -> None:
    clips = load("sample:sequences=2,frames=3")
    assert hashlib.sha256(b"".join(f.file for c in clips for f in c.frames)).hexdigest() == FILES_SHA256


def test_a_photograph_that_was_replaced_is_noticed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cutouts.PIXELS_SHA256, "camera.png", "0" * 64)
    cutouts.photograph.__wrapped__("camera.png")
    assert "camera.png" in caplog.text
    caplog.clear()
    cutouts.photograph.__wrapped__("grass.png")
    assert not caplog.text


def test_frames_are_camera_files_and_their_decoded_pixels() -> None:
    (clip,) = load("sample:sequences=1,frames=2")
    assert (clip.width, clip.height, len(clip), clip.class_names) == (320, 180, 2, ("cup",))
    for frame in clip.frames:
        decoded = np.asarray(Image.open(io.BytesIO(frame.file)).convert("RGB"))
        assert np.array_equal(decoded, frame.image)


def test_longer_and_shifted_requests_give_the_same_frames() -> None:
    few = load("sample:sequences=1,first=1,frames=4,width=96,height=54")[0]
    many = load("sample:sequences=2,frames=9,width=96,height=54")[1]
    sliced = load("sample:sequences=2,frames=9,width=96,height=54", frames=slice(2, 4))[1]
    assert few.name == many.name == "devices-01"
    assert np.array_equal(few.images(), many.images()[:4])
    assert np.array_equal(sliced.images(), many.images()[2:4])
    assert np.array_equal(sliced.frames[1].boxes, many.frames[3].boxes)


def test_seed_family_and_number_give_other_scenes() -> None:
    options = "frames=1,sequences=1,width=96,height=54"
    base = load(f"sample:{options}")[0].images()
    for other in (
        load(f"sample:{options}", seed=1),
        load(f"sample:{options},family=factory"),
        load(f"sample:{options},first=5"),
    ):
        assert np.abs(other[0].images().astype(int) - base).mean() > 5


def test_families_share_neither_photographs_nor_distractors() -> None:
    assert not set(BACKGROUNDS["devices"]) & set(BACKGROUNDS["factory"])
    assert not set(DISTRACTORS["devices"]) & set(DISTRACTORS["factory"])


def test_scene_is_the_same_at_every_size() -> None:
    small, small_boxes = Scene("devices", 2, 0, width=160, height=90, frames=1).render(0)
    large, large_boxes = Scene("devices", 2, 0, width=320, height=180, frames=1).render(0)
    assert large_boxes == pytest.approx(small_boxes * 2, abs=1e-6)
    shrunk = large.reshape(90, 2, 160, 2, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small).mean() < 6


def test_a_box_holds_its_object() -> None:
    """Drawn again without the labelled objects, the scene differs inside their boxes and nowhere else."""
    scene = Scene("devices", 1, 0, width=320, height=180, frames=30)
    covered = 0
    for number in (0, 10, 20, 29):
        _, extents, shown = scene._instant(number)
        with_objects = scene._instant(number)[0]
        everything = scene._sprites
        scene._sprites = [s for s in everything if not s.labelled]
        without = scene._instant(number)[0]
        scene._sprites = everything
        changed = (np.abs(with_objects.astype(np.int64) - without) > UNIT // 20).any(axis=2)
        for (x1, y1, x2, y2), share in zip(extents, shown, strict=True):
            inside = (slice(max(int(y1) - 2, 0), int(y2) + 3), slice(max(int(x1) - 2, 0), int(x2) + 3))
            if share > 0.9:
                rows, columns = np.nonzero(changed[inside])
                assert np.ptp(rows) >= 0.8 * (y2 - y1)
                assert np.ptp(columns) >= 0.8 * (x2 - x1)
                covered += 1
            changed[inside] = False
        assert not changed.any()
    assert covered >= 2


def test_hidden_objects_are_not_labelled() -> None:
    every: list[float] = []
    for sequence in range(4):
        scene = Scene("devices", sequence, 0, width=160, height=90, frames=100)
        for number in range(0, 100, 6):
            shares = scene._instant(number)[2]
            assert len(scene.render(number)[1]) == sum(share >= 0.35 for share in shares)
            every += shares
    assert min(every) < 0.2, "objects are hidden or out of the frame at times"
    assert 0.95 < max(every) < 1.02, "and in full view at others"


def test_sampling_interpolates_bilinearly() -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 30, 4), np.uint8)
    affine = (0.75, 0.125, 3.25, -0.0625, 0.875, 2.5)
    values = sample(pack(picture), affine, range(2, 18), range(1, 12)) / UNIT * 255
    u, v = np.meshgrid(np.arange(2, 18) + 0.5, np.arange(1, 12) + 0.5)
    x = affine[0] * u + affine[1] * v + affine[2] - 0.5
    y = affine[3] * u + affine[4] * v + affine[5] - 0.5
    x, y = np.floor(x * 16) / 16, np.floor(y * 16) / 16
    i, j = np.floor(y).astype(int), np.floor(x).astype(int)
    fy, fx = (y - i)[..., None], (x - j)[..., None]
    p = picture.astype(float)
    expected = (p[i, j] * (1 - fx) + p[i, j + 1] * fx) * (1 - fy) + (p[i + 1, j] * (1 - fx) + p[i + 1, j + 1] * fx) * fy
    assert np.abs(values - expected).max() < 1e-9


def test_halving_is_the_mean_of_four() -> None:
    picture = np.array([[[0], [1], [9]], [[2], [3], [9]]], np.uint8)
    assert halve(picture).tolist() == [[[2]]]


def test_paths_are_smooth_and_within_their_range() -> None:
    path = Path.random(Stream(3), -2.0, 5.0, period=6.0, frames=60)
    values = np.array([path(t) for t in np.arange(-1, 61, 0.05)])
    assert -2 <= values.min() < values.max() <= 5
    assert np.abs(np.diff(values, 2)).max() < 7 * (0.05 / 6) ** 2 * 4
    longer = Path.random(Stream(3), -2.0, 5.0, period=6.0, frames=600)
    assert [longer(t) for t in range(60)] == [path(t) for t in range(60)]


def test_turn_is_a_rotation() -> None:
    for half in (-0.4, 0.0, 0.3):
        assert turn(half) == pytest.approx((np.cos(2 * np.arctan(half)), np.sin(2 * np.arctan(half))))


def test_noise_is_centred_and_near_gaussian() -> None:
    noise = Stream(1).noise((200, 301))
    assert abs(noise.mean()) < 3
    assert noise.std() == pytest.approx(NOISE_DEVIATION, rel=0.02)
    assert np.mean(np.abs(noise) < NOISE_DEVIATION) == pytest.approx(0.683, abs=0.02)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("frames=0", "frames=0 is not in 1"),
        ("width=10", "width=10 is not in 64"),
        ("family=other", "'other' is not one of devices, factory"),
        ("frame=3", "no option 'frame'; known: family, first, frames"),
        ("somewhere", "'somewhere' is not one"),
    ],
)
def test_bad_options_name_the_option_and_its_range(options: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        load(f"sample:{options}")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed -1 must not be negative"):
        load("sample", seed=-1)


def test_frames_outside_the_sequence_are_an_error() -> None:
    with pytest.raises(DataError, match="has 4 frames; frames 9:12 selects none"):
        load("sample:frames=4", frames=slice(9, 12))


def test_progress_ends_at_one() -> None:
    seen: list[float] = []
    load("sample:sequences=2,frames=2,width=64,height=48", progress=seen.append)
    assert seen == pytest.approx([0.25, 0.5, 0.75, 1.0])
