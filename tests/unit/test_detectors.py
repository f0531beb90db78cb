"""The registry of detectors, other architectures behind it, and FedProx's proximal term."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_clips import small_clip

from rinr_flower.codecs import codecs
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Yolo, architecture, detectors
from rinr_flower.detection.proximal import ProximalTerm
from rinr_flower.detection.yolo import Ultralytics
from rinr_flower.errors import ConfigError
from rinr_flower.messages.training import Training
from rinr_flower.registry import Registry


@pytest.fixture(scope="module")
def store() -> FrameStore:
    return FrameStore([codecs.create("jpeg").encode(small_clip("clip", 1, (48, 64)))])


@pytest.mark.parametrize("model", ["yolo11n", "yolo26n"])
def test_other_architectures_learn_and_travel(model: str, store: FrameStore) -> None:
    detector, receiver = (architecture(model).build(("cup",), seed=seed) for seed in (1, 2))
    before = detector.state()
    log = detector.fit(store, [0, 1], steps=2, batch=2, size=64)
    assert len(log.losses) == 2
    receiver.load_state(detector.state())
    assert all(np.array_equal(a, b) for a, b in zip(receiver.state().values(), detector.state().values(), strict=True))
    assert not np.array_equal(next(iter(before.values())), next(iter(detector.state().values())))
    assert detector.evaluate(store, [0, 1], size=64).boxes == 2


def test_a_model_of_a_yaml_file(tmp_path: Path) -> None:
    source = Yolo(("cup",)).network.yaml
    lines = [f"{key}: {source[key]!r}" for key in ("nc", "backbone", "head")]
    (tmp_path / "mine.yaml").write_text("\n".join([*lines, "depth_multiple: 0.33", "width_multiple: 0.125"]))
    made = architecture({"name": "ultralytics", "model": str(tmp_path / "mine.yaml")}).build(("cup",))
    assert sum(a.nbytes for a in made.state().values()) < 6e6, "half as wide as yolov8n"


def test_detectors_of_other_distributions_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("mine", "rinr_flower.detection.yolo:Ultralytics", "rinr_flower.detectors")
    monkeypatch.setattr("rinr_flower.registry.entry_points", lambda group: [point] if group == point.group else [])
    monkeypatch.setattr(Ultralytics, "name", Ultralytics.name)  # what is found is named, and this class is everyone's
    registry = Registry("detector", detectors.group)
    assert registry.names() == ["mine"]
    with pytest.raises(ConfigError, match=r"no option 'modell'; known: model"):
        architecture({"name": "ultralytics", "modell": "x"})


def test_torchvision_is_named_where_it_cannot_be_imported() -> None:
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        with pytest.raises(ConfigError, match="needs a torchvision that fits the installed torch"):
            architecture("torchvision").build(("cup",))
        return
    with pytest.raises(ConfigError, match="torchvision has no detection model 'nothing'; known: fasterrcnn"):
        architecture({"name": "torchvision", "model": "nothing"}).build(("cup",))


@pytest.mark.parametrize("detector", ["yolo11s", {"name": "torchvision", "model": "fcos_resnet50_fpn"}])
def test_settings_survive_the_way_to_a_device(detector: object) -> None:
    training = Training(class_names=("a", "b"), detector=detector, proximal_mu=0.5)  # type: ignore[arg-type]
    assert Training.of_config(training.to_config()) == training


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"steps": "many"}, "'steps' .* must be a whole number"),
        ({"class-names": []}, "must be a list of texts"),
        ({"learning-rate": True}, "must be a number"),
        ({"detector": "{broken"}, "a name or a JSON object"),
        ({"steps": 0}, "'steps' of a training is 0; it must be at least 1"),
        ({"batch": -1}, "'batch' .* at least 1"),
        ({"image-size": 0}, "'image-size' .* at least 1"),
        ({"learning-rate": float("nan")}, "'learning-rate' .* is nan"),
        ({"blur": 2.0}, "'blur' .* a share"),
        ({"proximal-mu": -1.0}, "'proximal-mu'"),
        ({"batch": None}, "'batch' of a training is None; it must be a whole number"),
        ({"learning-rate": "0.1"}, "'learning-rate' .* '0.1'; it must be a number"),
        ({"class-names": "car"}, "'class-names' .* a list of texts"),
        ({"steps": 2.5}, "'steps' .* 2.5; it must be a whole number"),
        ({"seed": 1.5}, "'seed' .* a whole number"),
        ({"detector": 5}, "'detector' .* a name or a mapping"),
    ],
)
def test_bad_settings_are_named(config: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Training.of_config(config)
    if config != {"detector": "{broken"}:
        with pytest.raises(ConfigError, match=text):
            Training(**{key.replace("-", "_"): value for key, value in config.items()})


def test_an_architecture_object_does_not_travel() -> None:
    with pytest.raises(ConfigError, match=r"does not travel: give its name or mapping, and .* client_app\(detector="):
        Training(detector=architecture("yolov8n")).to_config()


def test_the_proximal_term_ends_where_the_formula_says() -> None:
    """The minimum of ||A w - b||^2 / 2 + mu/2 ||w - w0||^2 is (A'A + mu I)^-1 (A'b + mu w0)."""
    rng = np.random.default_rng(0)
    a, b, start, mu = rng.normal(size=(8, 4)), rng.normal(size=8), rng.normal(size=4), 3.0
    expected = np.linalg.solve(a.T @ a + mu * np.eye(4), a.T @ b + mu * start)
    weights = torch.nn.Parameter(torch.tensor(start))
    term, optimiser = ProximalTerm([weights], mu), torch.optim.SGD([weights], lr=0.02)
    for _ in range(2000):
        optimiser.zero_grad()
        (0.5 * ((torch.tensor(a) @ weights - torch.tensor(b)) ** 2).sum()).backward()
        term.add_gradient()
        optimiser.step()
    assert np.allclose(weights.detach().numpy(), expected, atol=1e-8)
    with pytest.raises(ConfigError, match="mu -1"):
        ProximalTerm([weights], -1.0)


def test_a_detector_trained_with_the_term_stays_closer_to_its_start(store: FrameStore) -> None:
    moved = {}
    for mu in (0.0, 100.0):
        detector = Yolo(("cup",), seed=1)
        start = {name: p.detach().clone() for name, p in detector.network.named_parameters()}
        detector.fit(store, [0, 1], steps=6, batch=2, size=32, proximal_mu=mu)
        parts = [((p.detach() - start[name]) ** 2).sum() for name, p in detector.network.named_parameters()]
        moved[mu] = float(torch.stack(parts).sum())
    assert 0 < moved[100.0] < moved[0.0] / 2
