"""YOLO learns from rendered batches, repeatably, and leaves the process as it found it."""

import os
import pickle
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from rinr_flower.codecs.classical import Jpeg
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Yolo
from rinr_flower.detection.batches import input_size, labels, letterbox, letterboxed, shuffled
from rinr_flower.detection.engine import ultralytics
from rinr_flower.detection.state import write_state
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame


def clip(frames: int, seed: int, *, class_names: tuple[str, ...] = ("object",)) -> Clip:
    """A photographed cup standing at random places before a photographed lawn."""
    rng = np.random.default_rng(seed)
    lawn, cup = np.stack([data.grass()] * 3, axis=2), data.coffee()[20:380:4, 160:480:4]
    made = []
    for _ in range(frames):
        image = lawn[:180, :320].copy()
        x, y = int(rng.integers(0, 320 - cup.shape[1])), int(rng.integers(0, 180 - cup.shape[0]))
        image[y : y + cup.shape[0], x : x + cup.shape[1]] = cup
        box = np.array([[x, y, x + cup.shape[1], y + cup.shape[0]]], np.float32)
        made.append(Frame(image, box, np.array([len(class_names) - 1])))
    return Clip("cup", tuple(made), class_names)


@pytest.fixture(scope="module")
def store() -> FrameStore:
    return FrameStore([Jpeg().encode(clip(24, 1)), Jpeg().encode(Clip("empty", (Frame(clip(1, 2).frames[0].image),)))])


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(np.array_equal(a[n], b[n]) for n in a)


def test_learns_and_evaluates(store: FrameStore) -> None:
    detector = Yolo()
    before = detector.evaluate(store, range(16, 25), size=96)
    log = detector.fit(store, range(16), steps=40, size=96, learning_rate=2e-3)
    after = detector.evaluate(store, range(16, 25), size=96)
    assert before.map50 < 0.05
    assert after.map50 > 0.8
    assert after.map50_95 > 0.35
    assert (after.images, after.boxes) == (9, 8)
    assert len(log.losses) == 40
    assert log.losses[-1] < log.losses[0] / 2
    assert log.seconds_rendering > 0
    assert log.seconds_training > 0
    found = detector.predict(store, [20], size=96, confidence=0.2)[0]
    truth = store.labels(20)[0][0]
    assert np.abs(found.boxes[0] - truth).max() < 15  # in the frame's own pixels
    assert (np.diff(found.scores) <= 0).all()


def test_the_same_seed_gives_the_same_weights_and_leaves_the_process_alone(
    store: FrameStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global generator is what must stay untouched
    torch.manual_seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    threads = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")

    def trained(seed: int, blur: float = 0.0) -> dict[str, np.ndarray]:
        detector = Yolo(seed=seed)
        detector.fit(store, range(8), steps=2, batch=4, size=64, seed=seed, blur=blur)
        detector.evaluate(store, range(4), size=64)
        return detector.state()

    first = trained(0)
    torch.rand(1)
    random.random()
    assert same(first, trained(0))
    assert not same(first, trained(1))
    assert not same(first, trained(0, blur=0.5))
    assert same(trained(0, blur=0.5), trained(0, blur=0.5))
    random.seed(5)
    torch.manual_seed(5)
    trained(0)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    assert before == after
    assert threads == (torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))
    assert list(tmp_path.iterdir()) == []


def test_evaluation_changes_nothing(store: FrameStore) -> None:
    detector = Yolo()
    before = detector.state()
    detector.evaluate(store, range(4), size=64)
    assert same(before, detector.state())


def test_the_state_travels(store: FrameStore) -> None:
    """Trained weights, taken over by another detector, give the same detections."""
    sender, receiver = Yolo(), Yolo(seed=9)
    sender.fit(store, range(8), steps=3, batch=4, size=64)
    assert len(sender.state()) == 297
    assert not any("num_batches_tracked" in name for name in sender.state())
    receiver.load_state(sender.state())
    assert same(sender.state(), receiver.state())
    for a, b in zip(*(d.predict(store, range(3), size=64, confidence=0.0) for d in (sender, receiver)), strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.scores, b.scores)


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    detector, other = Yolo(), Yolo(("a", "b"))
    before = detector.state()
    poisoned = dict(before)
    last = list(poisoned)[-1]
    poisoned[last] = np.full_like(poisoned[last], np.nan)
    for bad in (other.state(), poisoned, {**before, "extra": np.zeros(1, np.float32)}, {}):
        with pytest.raises(DataError):
            detector.load_state(bad)
        assert same(before, detector.state())


def test_statistics_are_measured_on_the_frames(store: FrameStore) -> None:
    """The first normalisation's mean is that of the first convolution's output over the frames."""
    detector = Yolo()
    detector.measure_statistics(store, range(8), batch=8, size=64)
    shape = input_size([store.frame_size(0)], 64)
    made = letterboxed(store, range(8), shape, ("object",))
    with torch.no_grad():
        expected = detector.network.model[0].conv(made.pictures).mean(dim=(0, 2, 3))
    np.testing.assert_allclose(detector.state()["model.0.bn.running_mean"], expected, rtol=1e-4, atol=1e-5)


def test_classes_are_matched_by_name() -> None:
    two = FrameStore([Jpeg().encode(clip(1, 3, class_names=("cup", "spoon")))])
    assert labels(two, 0, ("spoon", "fork", "cup"))[1].tolist() == [0]
    with pytest.raises(DataError, match=r"'spoon'.*cup, fork"):
        labels(two, 0, ("cup", "fork"))


def test_letterboxed_boxes_stay_on_their_pixels(store: FrameStore) -> None:
    made = letterboxed(store, [3], (96, 160), ("object",))
    assert made.pictures.shape == (1, 3, 96, 160)
    x1, y1, x2, y2 = made.boxes[0][0].round().astype(int)
    cup = torch.from_numpy(clip(4, 1).frames[3].image.astype(np.float32) / 255)
    fx1, fy1, fx2, fy2 = store.labels(3)[0][0].astype(int)
    inside, there = made.pictures[0, :, y1 + 1 : y2 - 1, x1 + 1 : x2 - 1], cup[fy1:fy2, fx1:fx2]
    np.testing.assert_allclose(inside.mean(dim=(1, 2)), there.mean(dim=(0, 1)), atol=0.03)
    np.testing.assert_allclose(made.pictures[0, :, 0, 0], 114 / 255, atol=1e-6)  # 320x180 leaves 3 px above


@pytest.mark.parametrize(
    ("frames", "size", "expected"),
    [
        ([(640, 360)], 160, (96, 160)),
        ([(640, 360)], 224, (128, 224)),
        ([(360, 640)], 160, (160, 96)),
        ([(640, 360), (360, 640)], 160, (160, 160)),
        ([(100, 100)], 64, (64, 64)),
        ([(320, 160)], 64, (32, 64)),
    ],
)
def test_input_size_is_the_smallest_that_fits(
    frames: list[tuple[int, int]], size: int, expected: tuple[int, int]
) -> None:
    assert input_size(frames, size) == expected


@pytest.mark.parametrize("size", [0, 31, 100, -32])
def test_an_impossible_input_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=str(size)):
        input_size([(640, 360)], size)


def test_letterbox_maps_corners_to_corners() -> None:
    matrix = letterbox((640, 360), (160, 160))
    assert (matrix @ [0, 35, 1]).tolist() == [0, 0, 1]
    assert (matrix @ [160, 125, 1]).tolist() == [640, 360, 1]


def test_every_frame_is_used_before_any_again() -> None:
    drawn = shuffled(range(10, 17), 3, np.random.default_rng(0))
    flat = [i for _ in range(7) for i in next(drawn)]
    assert [sorted(flat[i : i + 7]) for i in (0, 7, 14)] == [list(range(10, 17))] * 3


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"model": "yolov8q9"}, "'yolov8q9'.*yolo26, each with n, s, m, l or x"),
        ({"model": "yolov8n-pose"}, "ends in Pose; it must end in Detect"),
        ({"class_names": ()}, "class names"),
        ({"class_names": ("a", "a")}, "each once"),
        ({"weights": "model.bin"}, r"\.pt or \.npz"),
        ({"weights": "nowhere/model.pt"}, "no weights at nowhere/model.pt"),
        ({"weights": "nowhere/model.npz"}, "no weights at nowhere/model.npz"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Yolo(**arguments)  # type: ignore[arg-type]


def test_no_frames_or_steps_is_an_error(store: FrameStore) -> None:
    with pytest.raises(DataError, match="empty"):
        Yolo().fit(store, [], steps=1)
    with pytest.raises(ConfigError, match=r"blur 1\.5"):
        Yolo().fit(store, [0], steps=1, blur=1.5)
    with pytest.raises(ConfigError, match="0 steps"):
        Yolo().fit(store, [0], steps=0)


def test_weights_from_files(tmp_path: Path) -> None:
    """An .npz of another number of classes gives all but the class outputs; a .pt the same way, loaded as data."""
    source = Yolo(("a", "b"), seed=3)
    write_state(tmp_path / "w.npz", source.state())
    torch.save({"model": source.network, "ema": None}, tmp_path / "w.pt")
    for path in (tmp_path / "w.npz", tmp_path / "w.pt"):
        taken = Yolo(weights=path).state()
        theirs = source.state()
        differs = [n for n in taken if taken[n].shape != theirs[n].shape]
        assert len(differs) == 6
        assert all(".cv3." in n for n in differs)
        assert all(np.array_equal(taken[n], theirs[n]) for n in taken if n not in differs)


class Malice:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_malicious_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"model": Malice(tmp_path / "ran")}, tmp_path / "bad.pt")
    (tmp_path / "worse.pt").write_bytes(pickle.dumps(Malice(tmp_path / "ran")))
    for name in ("bad.pt", "worse.pt"):
        with pytest.raises(DataError, match=name):
            Yolo(weights=tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_ultralytics_waits_until_it_is_used() -> None:
    """Its import then changes nothing that child processes inherit, and its settings folder goes with the process."""
    code = (
        "import sys, os\n"
        "import rinr_flower.detection as d\n"
        "assert 'ultralytics' not in sys.modules and 'torchvision' not in sys.modules\n"
        "import torch\n"
        "threads = torch.get_num_threads()\n"
        "d.Yolo()\n"
        "assert 'ultralytics' in sys.modules and 'torchvision' not in sys.modules\n"
        "assert torch.get_num_threads() == threads and 'OMP_NUM_THREADS' not in os.environ\n"
        "assert os.path.isdir(os.environ['YOLO_CONFIG_DIR'])\n"
        "print(os.environ['YOLO_CONFIG_DIR'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "YOLO_CONFIG_DIR")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert not Path(done.stdout.strip()).exists()


def test_a_child_process_does_not_share_its_parents_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "rinr-yolo-1-parent"))
    ultralytics("utils")
    own = Path(os.environ["YOLO_CONFIG_DIR"])
    assert own.name.startswith(f"rinr-yolo-{os.getpid()}-")
    ultralytics("utils")
    assert Path(os.environ["YOLO_CONFIG_DIR"]) == own
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "chosen"))
    ultralytics("utils")
    assert os.environ["YOLO_CONFIG_DIR"] == str(tmp_path / "chosen")


def test_weights_that_cannot_be_downloaded_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"yolov8n\.pt is not in .* and could not be downloaded"):
        Yolo(weights="yolov8n.pt", downloads=tmp_path)
    assert not (tmp_path / "yolov8n.pt").exists()
