"""Every Python snippet about strategies and devices in README and docs runs as it stands, with clients."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from flwr.serverapp.strategy import FedAvg
from image_folders import write_images
from small_clips import small_clip
from tiny_detector import Tiny, cameras
from wire import Wire

from rinr_flower.clients import DeviceFolder, EdgeDevice, client_app
from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Detector, TrainingLog, Yolo
from rinr_flower.detection.state import write_state
from rinr_flower.frames import Frame
from rinr_flower.messages.training import Training
from rinr_flower.strategies import FogNode
from rinr_flower.strategies.encoding import encode_here

pytestmark = pytest.mark.usefixtures("task_identity")

ROOT = Path(__file__).parents[2]
CONTEXT = Context(1, 10, {}, RecordDict(), {})


def snippets(page: str) -> list[str]:
    return re.findall(r"```python(?: title=\S+)?\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def run(code: str, page: str, **names: Any) -> dict[str, Any]:
    exec(compile(code, page, "exec"), names)
    return names


def short(detector: Detector, store: FrameStore, training: Training, server_round: int) -> TrainingLog:
    """One step on small pictures: the snippets' own settings are for real frames."""
    return detector.fit(store, range(len(store)), steps=1, batch=2, size=64)


@pytest.mark.parametrize(("page", "number"), [("README.md", 0), ("docs/strategies.md", 0), ("docs/strategies.md", 3)])
def test_a_server_app_of_the_docs_trains_its_devices(
    page: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's own snippet once trained nothing, and said nothing of it."""
    made: list[FogNode] = []
    finish = FogNode.start

    def start(self: FogNode, *args: Any, **options: Any) -> Any:
        made.append(self)
        self.encoder = encode_here
        if len(args) > 5:  # its training at the fog, in small
            args = (*args[:4], *[ConfigRecord({**c, "steps": 1, "batch": 2, "image-size": 64}) for c in args[4:6]])
        return finish(self, *args, **options)

    monkeypatch.setattr(FogNode, "start", start)
    names = run(_positional(snippets(page)[number]), page)
    wire = cameras(tmp_path, 2, class_name="car", detector=None, train=short)
    names["main"](wire, CONTEXT)
    assert made[0].failures == []
    assert [(row.round, row.device) for row in made[0].trained] == [
        (i, f"device-{j}") for i in (1, 2, 3) for j in (0, 1)
    ]
    assert made[0].evaluated[-1].metrics["num-examples"] == 2


def _positional(code: str) -> str:
    """The snippet with train_config and evaluate_config as arguments 5 and 6, where :func:`start` sees them."""
    return code.replace("timeout=600, train_config=config, evaluate_config=config", "600, config, config").replace(
        "num_rounds=3, 600", "3, 600"
    )


def test_the_weights_of_the_docs(tmp_path: Path) -> None:
    state = Yolo(("car",), seed=3).state()
    write_state(tmp_path / "own.npz", state)
    code = snippets("docs/strategies.md")[1].replace("yolov8n.pt", str(tmp_path / "own.npz"))
    arrays = run(code, "docs/strategies.md")["arrays"]
    assert list(arrays) == list(state)
    assert all(np.array_equal(arrays[name].numpy(), array) for name, array in state.items())


def test_the_overridden_step_of_the_docs(tmp_path: Path) -> None:
    names = run(snippets("docs/strategies.md")[2], "docs/strategies.md")
    strategy = names["NightShift"]("jpeg", encoder=encode_here)
    strategy.start(cameras(tmp_path, 2), ArrayRecord(), 1, timeout=1)
    assert strategy.shared == [], "no clip of these devices is of the night"
    assert len(strategy.trained) == 2


TUTORIAL = "docs/tutorials/strategy.md"


def test_the_averaging_of_the_tutorial(tmp_path: Path) -> None:
    strategy = run(snippets(TUTORIAL)[0], TUTORIAL)["strategy"]
    strategy.encoder = encode_here
    config = ConfigRecord(Training(class_names=("cup",)).to_config())
    result = strategy.start(cameras(tmp_path, 2), ArrayRecord({"numbers": Array(np.ones(3, np.float32))}), 1, 5, config)
    assert strategy.failures == []
    assert list(result.arrays) == ["numbers"]


def test_the_labelled_clips_of_the_tutorial(tmp_path: Path) -> None:
    names = run(snippets(TUTORIAL)[1], TUTORIAL)
    strategy = names["Labelled"]("jpeg", encoder=encode_here)
    empty = replace(small_clip("empty", 1), frames=tuple(Frame(f.image) for f in small_clip("empty", 1).frames))
    folders = [
        DeviceFolder.write(tmp_path / str(i), f"device-{i}", [[clip]], [clip])
        for i, clip in enumerate((small_clip("full", 0), empty))
    ]
    apps = {10 + i: client_app(lambda context, f=f: EdgeDevice(f), detector=Tiny()) for i, f in enumerate(folders)}
    strategy.start(Wire(apps), ArrayRecord(), 1, 5)
    assert [(clip.device, clip.clip) for clip in strategy.shared] == [("device-0", "full")]
    assert names["has_boxes"](b"no payload"), "encoding refuses it by name"


def test_the_budget_of_the_tutorial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run(
        snippets(TUTORIAL)[2].replace('"scene"', '"jpeg", encoder=encode_here').replace("20_000", "3_000"),
        TUTORIAL,
        encode_here=encode_here,
    )
    names["main"](cameras(tmp_path, 3), CONTEXT)
    lines = capsys.readouterr().out.splitlines()
    received = Counter[tuple[str, str]]()
    for line in lines:
        round_, device, size = re.fullmatch(r"round (\d): (\S+) received .+, (\d+) bytes", line).groups()
        received[round_, device] += int(size)
    assert 0 < max(received.values()) <= 3_000
    assert len(received) == 3 * 3


def test_the_command_of_the_tutorial_is_that_of_the_quickstart() -> None:
    """tests/system/test_quickstart.py runs it."""
    command = 'flwr run . here --stream --federation-config "num-supernodes=4"\n'
    assert command in (ROOT / TUTORIAL).read_text(encoding="utf-8")
    assert command in (ROOT / "examples/quickstart/README.md").read_text(encoding="utf-8")
    assert (ROOT / "examples/quickstart/quickstart/server_app.py").is_file(), "what the tutorial replaces"


def _keys(folder: Path) -> None:
    fog, device = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    public = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    (folder / "fog").write_bytes(fog.private_bytes(*form))
    (folder / "devices.pub").write_bytes(device.public_key().public_bytes(*public) + b" camera-1\n")


def test_the_kept_and_signed_run_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _keys(tmp_path)
    names = run(snippets("docs/strategies.md")[4], "docs/strategies.md")
    assert names["strategy"].recall() == 0
    assert names["strategy"].ledger.path == names["run"].ledger
    assert sorted(names["identity"].devices) == ["camera-1"]


def _camera(folder: Path, count: int) -> None:
    names = [f"{number:02d}" for number in range(count)]
    write_images(folder, [f"{name}.jpg" for name in names])
    for name in names:
        (folder / f"{name}.txt").write_text("0 0.5 0.5 0.25 0.25\n")


def test_the_opened_client_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _camera(tmp_path / "camera", 6)
    names = run(snippets("docs/strategies.md")[5], "docs/strategies.md")
    wire = Wire({10: names["app"]})
    config = ConfigRecord(Training(image_size=64, steps=1, batch=2, detector="yolo11n").to_config())
    start = ArrayRecord({k: Array(v) for k, v in Training(detector="yolo11n").build().state().items()})
    strategy = FogNode("jpeg", inner=FedAvg(min_train_nodes=1, min_evaluate_nodes=1, min_available_nodes=1))
    strategy.encoder = encode_here
    result = strategy.start(wire, start, 1, 5, config, config)
    assert strategy.failures == []
    assert result.arrays["model.0.conv.weight"].shape == (16, 3, 3, 3)
    noise = result.arrays["model.0.bn.bias"].numpy() - start["model.0.bn.bias"].numpy()
    assert abs(noise).max() > 0.1, "the mod's noise, beside which two steps are nothing"


def test_the_device_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = snippets("docs/device.md")[0]
    for name in ("/srv/camera", "/var/lib/rinr", "/etc/rinr"):
        code = code.replace(name, str(tmp_path / Path(name).name))
    _camera(tmp_path / "camera", 33)
    (tmp_path / "rinr").mkdir()
    key, fog = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    (tmp_path / "rinr" / "camera-1").write_bytes(key.private_bytes(*form))
    public = fog.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (tmp_path / "rinr" / "fog.pub").write_bytes(public)
    device = run(code, "docs/device.md")["open_device"](CONTEXT)
    assert isinstance(device, EdgeDevice)
    assert (device.name, device.identity.name, device.state.budget) == ("camera-1", "camera-1", 512 << 20)
    own = device.frames.in_job(tmp_path / "memory")
    assert [len(own.captures(1)), len(own.held_back())] == [1, 1]
