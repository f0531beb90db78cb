"""Augmentation in coordinate space is ultralytics' own augmentation, with boxes on their pixels."""

import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage import data

from rinr_flower.codecs import decode
from rinr_flower.codecs.classical import Jpeg
from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import Augmentation, Drawn, arrange, place_boxes, transform_boxes
from rinr_flower.decoding.colour import jitter
from rinr_flower.decoding.mosaic import compose
from rinr_flower.detection.batches import labels
from rinr_flower.detection.engine import ultralytics
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame

SIDE = 128
SIZE = (SIDE, SIDE)
STRONG = {"degrees": 25.0, "shear": 8.0, "perspective": 0.0006, "translate": 0.2, "flipud": 0.5}


def photograph(width: int, height: int, seed: int) -> Frame:
    """A smooth photograph with a few boxes."""
    rng = np.random.default_rng(seed)
    picture = Image.fromarray([data.astronaut, data.coffee, data.rocket][seed % 3]())
    boxes = []
    for _ in range(1 + seed % 4):
        x, y = rng.uniform(0, width * 0.8), rng.uniform(0, height * 0.8)
        boxes.append([x, y, min(width, x + rng.uniform(4, 60)), min(height, y + rng.uniform(4, 60))])
    image = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    return Frame(image, np.array(boxes, np.float32), np.zeros(len(boxes), np.int64))


@pytest.fixture(scope="module")
def payloads() -> list[bytes]:
    sizes = [(128, 72), (96, 128), (160, 90), (128, 128), (64, 48), (128, 72)]
    return [Jpeg(quality=95).encode(Clip(f"c{i}", (photograph(*s, i),))) for i, s in enumerate(sizes)]


@pytest.fixture(scope="module")
def store(payloads: list[bytes]) -> FrameStore:
    return FrameStore(payloads)


@pytest.fixture(scope="module")
def folder(payloads: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store's frames as the image files and labels that ultralytics reads."""
    root = tmp_path_factory.mktemp("yolo")
    (root / "images").mkdir()
    (root / "labels").mkdir()
    for i, payload in enumerate(payloads):
        frame = decode(payload).frames[0]
        Image.fromarray(frame.image).save(root / "images" / f"{i}.png")
        share = frame.boxes / np.array([frame.width, frame.height] * 2)
        rows = [f"0 {(a + c) / 2} {(b + d) / 2} {c - a} {d - b}" for a, b, c, d in share.tolist()]
        (root / "labels" / f"{i}.txt").write_text("\n".join(rows))
    return root


class Recorder:
    """A random module that notes what it was asked for and what it answered."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.calls: list[tuple[str, tuple[float, ...], float]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: float) -> float:
            value = getattr(self.source, name)(*arguments)
            self.calls.append((name, arguments, value))
            return value

        return call


def reference(
    folder: Path, seed: int, index: int, monkeypatch: pytest.MonkeyPatch, **settings: float
) -> tuple[dict[str, Any], Recorder]:
    """One training picture of ultralytics' own data set, and the random numbers that made it."""
    augment, dataset = ultralytics("data.augment"), ultralytics("data.dataset")
    hyper = ultralytics("cfg").get_cfg(overrides={"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, **settings})
    theirs = dataset.YOLODataset(
        img_path=str(folder / "images"), imgsz=SIDE, augment=True, hyp=hyper, batch_size=4, cache="ram", stride=32,
        data={"names": {0: "object"}, "nc": 1, "channels": 3}, task="detect",
    )  # fmt: skip
    recorder = Recorder(seed)
    monkeypatch.setattr(augment, "random", recorder)
    return theirs[index], recorder


def drawn_from(recorder: Recorder, index: int, mosaic: bool) -> Drawn:
    """Our parameters out of the random numbers that ultralytics drew, in its order."""
    values = [value for _, _, value in recorder.calls[1:]]
    frames, centre = (index,), None
    if mosaic:
        others, (y, x), values = values[:3], values[3:5], values[5:]
        frames, centre = (index, *map(int, others)), (int(x), int(y))
    px, py, angle, scale, sx, sy, tx, ty, _mixup, _cutmix, flipud, fliplr = values[:12]
    return Drawn(frames, centre, (px, py), angle, scale, (sx, sy), (tx, ty), (0, 0, 0), flipud < 0.5, fliplr < 0.5)


@pytest.mark.parametrize("mosaic", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_pictures_and_boxes_are_ultralytics(
    store: FrameStore, folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int, mosaic: bool
) -> None:
    settings = STRONG if seed % 2 else {"flipud": 0.5}
    theirs, recorder = reference(folder, seed, seed % len(store), monkeypatch, mosaic=float(mosaic), **settings)
    drawn = drawn_from(recorder, seed % len(store), mosaic)
    picture = arrange(drawn, [store.frame_size(i) for i in drawn.frames], SIZE)
    boxes, _ = place_boxes(drawn, picture, [labels(store, i, ("object",)) for i in drawn.frames], SIZE)

    x, y, w, h = (theirs["bboxes"].numpy() * SIDE).T
    expected = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
    assert len(boxes) == len(expected)
    np.testing.assert_allclose(boxes, expected, atol=0.02)

    ours = compose(store, [picture], SIZE)[0].numpy()
    reference_picture = theirs["img"].numpy() / 255
    # theirs is resized, then warped with its pixel centres half a pixel off; ours is one exact lookup
    assert 10 * np.log10(1 / ((ours - reference_picture) ** 2).mean()) > 22
    grey = np.abs(reference_picture - 114 / 255).max(axis=0) < 1e-3
    assert (np.abs(ours - 114 / 255).max(axis=0) < 1e-3)[grey].sum() >= 0.97 * grey.sum()


def test_parameters_are_drawn_from_ultralytics_ranges(
    store: FrameStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, recorder = reference(folder, 0, 0, monkeypatch, mosaic=1.0, **STRONG)
    ranges = [a for name, a, _ in recorder.calls if name == "uniform"]
    augmentation = Augmentation(**STRONG)
    generator = np.random.default_rng(0)
    drawn = [augmentation.draw(0, range(6), SIZE, generator) for _ in range(2000)]
    columns = {
        1: [d.centre[1] for d in drawn if d.centre],
        2: [d.centre[0] for d in drawn if d.centre],
        3: [d.perspective[0] for d in drawn],
        4: [d.perspective[1] for d in drawn],
        5: [d.angle_deg for d in drawn],
        6: [d.scale for d in drawn],
        7: [d.shear_deg[0] for d in drawn],
        8: [d.shear_deg[1] for d in drawn],
        9: [d.centre_at[0] for d in drawn],
        10: [d.centre_at[1] for d in drawn],
    }
    for at, values in columns.items():
        low, high = ranges[at]
        assert min(values) >= low - 1e-9
        assert max(values) <= high + 1e-9
        slack = 0.5 if at in (1, 2) else 0.0  # whole pixels
        assert stats.kstest(np.array(values) + slack, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    assert np.mean([d.flipud for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([d.fliplr for d in drawn]) == pytest.approx(0.5, abs=0.05)
    assert {f for d in drawn for f in d.frames[1:]} == set(range(6))
    rare = Augmentation(mosaic=0.25, hsv_h=0.1, hsv_s=0.2, hsv_v=0.3)
    some = [rare.draw(0, range(6), SIZE, generator) for _ in range(2000)]
    assert np.mean([d.centre is not None for d in some]) == pytest.approx(0.25, abs=0.04)
    for channel, limit in enumerate((0.1, 0.2, 0.3)):
        gains = [d.gains[channel] for d in some]
        assert stats.kstest(gains, stats.uniform(-limit, 2 * limit).cdf).pvalue > 1e-3


def test_colours_are_ultralytics(monkeypatch: pytest.MonkeyPatch) -> None:
    image = photograph(120, 80, 1).image
    for gains in ([0.1, 0.3, -0.2], [-0.3, -0.6, 0.3], [0.5, 0.0, 0.0], [0.0, 0.5, 0.5]):
        fixed = np.array(gains)
        module = ultralytics("data.augment")
        monkeypatch.setattr(module.np.random, "uniform", lambda *_: np.ones(3))
        theirs = module.RandomHSV(*fixed).apply_image({"img": np.ascontiguousarray(image[..., ::-1])})["img"]
        monkeypatch.undo()
        expected = theirs[..., ::-1].astype(np.float64)
        ours = jitter(torch.from_numpy(image.transpose(2, 0, 1)[None] / 255).float(), torch.tensor([gains]))
        error = np.abs(ours[0].permute(1, 2, 0).numpy() * 255 - expected)
        assert error.mean() < 2.0  # theirs is rounded to 180 hues
    grey = torch.full((1, 3, 2, 2), 0.4)
    torch.testing.assert_close(jitter(grey, torch.tensor([[0.3, 0.9, 0.0]])), grey)
    assert jitter(grey, torch.zeros(1, 3)) is grey


def test_without_change_it_is_the_letterbox(store: FrameStore) -> None:
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    made = still.batch(store, [0], [0], SIZE, store.labels, np.random.default_rng(0))
    top = (SIDE - 72) // 2
    plain = store.render([0], (72, 128))
    torch.testing.assert_close(made.pictures[0, :, top : top + 72], plain[0], atol=1e-4, rtol=0)
    assert (made.pictures[0, :, :top] == np.float32(114 / 255)).all()
    np.testing.assert_allclose(made.boxes[0], store.labels(0)[0] + [0, top, 0, top], atol=1e-4)


def test_a_flip_is_exact(store: FrameStore) -> None:
    pictures = [arrange(Drawn((3,), fliplr=f, flipud=u), [(128, 128)], SIZE) for f, u in ((0, 0), (1, 0), (0, 1))]
    plain, right, down = compose(store, pictures, SIZE)
    torch.testing.assert_close(plain.flip(2), right, atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.flip(1), down, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (320, 352)])
def test_tiles_leave_no_seam(store: FrameStore, size: tuple[int, int]) -> None:
    """A mosaic is, pixel by pixel, what rendering each frame over the whole output shows in its part."""
    generator = np.random.default_rng(size)
    for _ in range(3):
        drawn = Augmentation(**STRONG).draw(0, range(6), size, generator)
        picture = arrange(drawn, [store.frame_size(i) for i in drawn.frames], size)
        made = compose(store, [picture], size)[0]
        y, x = np.mgrid[0 : size[0], 0 : size[1]] + 0.5
        points = np.stack([x, y, np.ones_like(x)], axis=-1) @ picture.to_canvas.T
        points = points[..., :2] / points[..., 2:]
        expected = torch.full((3, *size), 114 / 255)
        for patch in picture.patches:
            matrix = torch.tensor(patch.to_frame, dtype=torch.float32)[None]
            whole = store.render([patch.frame], size, matrix=matrix)[0]
            x1, y1, x2, y2 = patch.shown
            inside = torch.from_numpy(((points >= [x1, y1]) & (points < [x2, y2])).all(axis=-1))
            expected = torch.where(inside, whole, expected)
        assert ((made - expected).abs().amax(dim=0) > 1e-3).float().mean() < 2e-3  # rounding at the very edges


def test_a_batch_is_its_pictures(store: FrameStore) -> None:
    """Each picture is the same whatever is made along with it, and the seed fixes them all."""
    augmentation = Augmentation(mosaic=0.5)

    def batch(seed: int) -> torch.Tensor:
        return augmentation.batch(
            store, [0, 1, 2, 3], range(6), SIZE, store.labels, np.random.default_rng(seed)
        ).pictures

    assert torch.equal(batch(3), batch(3))
    assert not torch.equal(batch(3), batch(4))
    generator = np.random.default_rng(5)
    drawn = [augmentation.draw(i, range(6), SIZE, generator) for i in range(4)]
    pictures = [arrange(d, [store.frame_size(i) for i in d.frames], SIZE) for d in drawn]
    together = compose(store, pictures, SIZE)
    for row, picture in enumerate(pictures):
        torch.testing.assert_close(compose(store, [picture], SIZE)[0], together[row], atol=1e-6, rtol=0)


def test_boxes_that_leave_the_picture_are_clipped_or_dropped(store: FrameStore) -> None:
    """Half a box is kept and clipped, a sliver and a box outside are dropped."""
    boxes = np.array([[0, 32, 40, 72], [0, 60, 64, 100], [90, 40, 120, 80]], np.float32)
    drawn = Drawn((3,), centre_at=(0.5 - 58 / SIDE, 0.5))
    picture = arrange(drawn, [(128, 128)], SIZE)
    kept, classes = place_boxes(drawn, picture, [(boxes, np.array([4, 5, 6]))], SIZE)
    np.testing.assert_allclose(kept, [[32, 40, 62, 80]], atol=1e-4)
    assert classes.tolist() == [6]
    drawn = Drawn((3,), centre_at=(0.5 - 32 / SIDE, 0.5))
    kept, classes = place_boxes(drawn, arrange(drawn, [(128, 128)], SIZE), [(boxes, np.array([4, 5, 6]))], SIZE)
    assert classes.tolist() == [4, 5, 6]
    np.testing.assert_allclose(kept[0], [0, 32, 8, 72], atol=1e-4)


def test_a_transformed_box_holds_its_corners() -> None:
    turn = np.array([[0, -1, 10], [1, 0, 0], [0, 0, 1]], np.float64)
    np.testing.assert_allclose(transform_boxes(np.array([[1, 2, 3, 6]], np.float32), turn), [[4, 1, 8, 3]])


def test_sides_vary_as_ultralytics_multi_scale() -> None:
    generator = np.random.default_rng(0)
    sizes = {Augmentation(multi_scale=0.5).draw_size((160, 160), generator) for _ in range(500)}
    assert sizes == {(s // 32 * 32,) * 2 for s in range(max(32, int(160 * 0.5)), int(160 * 1.5) + 32)}
    assert {Augmentation().draw_size((96, 160), generator) for _ in range(5)} == {(96, 160)}


def test_names_and_defaults_are_ultralytics() -> None:
    settings = vars(ultralytics("cfg").get_cfg())
    assert {f.name: f.default for f in fields(Augmentation)} == {f.name: settings[f.name] for f in fields(Augmentation)}
    assert Augmentation.from_settings(settings) == Augmentation()


@pytest.mark.parametrize(("name", "value"), [("degrees", 181.0), ("mosaic", 1.5), ("hsv_h", -0.1), ("shear", 90.0)])
def test_impossible_values_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        Augmentation(**{name: value})
