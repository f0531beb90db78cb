"""What a device keeps on its disk, through kills, damage, repetition, full disks and restarts."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.supercore.task_identity import TaskIdentity

from rinr_flower.array_file import pack_arrays, unpack_arrays
from rinr_flower.clients import DeviceFolder, DeviceState, EdgeDevice, Training, client_app
from rinr_flower.clients.device_state import ARRAYS_KEPT, BUDGET, Held
from rinr_flower.codecs import codecs
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import name_of
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.strategies.protocol import holds_digest, payloads_record, query_content

JOB = "0123456789abcdef"
TRAINING = Training(class_names=("cup",), image_size=32, steps=1, batch=2)


@pytest.fixture(autouse=True)
def identity() -> None:
    """What Flower sets when it starts a ServerApp."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1


def held(value: float, payloads: dict[int, list[bytes]] | None = None) -> Held:
    received = {number: {name_of(p): len(p) for p in found} for number, found in (payloads or {}).items()}
    return Held({"model": {"w": np.full((2, 3), value, np.float32), "n": np.array(7)}}, received)


def value(found: Held | None) -> float | None:
    return None if found is None else float(found.arrays["model"]["w"][0, 0])


def finish(
    state: DeviceState, server_round: int, kind: str, what: Held, payloads: Iterable[bytes] = (), job: str = JOB
) -> None:
    with state.job(job) as part:
        part.finish(server_round, kind, what, payloads)


def before(state: DeviceState, server_round: int, kind: str = "train", job: str = JOB) -> Held | None:
    with state.job(job) as part:
        return part.before(server_round, kind)


def payloads(state: DeviceState, what: Held) -> list[bytes]:
    with state.job(JOB) as part:
        return list(part.payloads(what).values())


def in_a_child(work: Callable[[], None]) -> int:
    """Do something in a process of its own; its exit code."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("kind", ["?", "i1", "<u2", "<i8", "<f2", "<f4", ">f4", "<f8"])
def test_arrays_survive_their_file(kind: str) -> None:
    arrays = {"z": np.arange(6).reshape(2, 3).astype(kind), "a b": np.array(1).astype(kind), "": np.zeros((0, 4), kind)}
    found = unpack_arrays(pack_arrays(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert found[name].dtype.name == array.dtype.name
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("spoil", [lambda d: d[:-1], lambda d: d + b"x", lambda d: b"\xff" * 8 + d[8:], lambda d: b""])
def test_a_file_that_holds_no_arrays_is_refused(spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match="file of arrays"):
        unpack_arrays(spoil(pack_arrays({"w": np.zeros(3, np.float32)})))


def test_objects_are_not_kept() -> None:
    with pytest.raises(DataError, match="'w' is of type object"):
        pack_arrays({"w": np.array([{}])})


def test_a_message_starts_from_the_newest_state_before_it_and_so_does_its_repetition(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    assert before(state, 1) is None
    finish(state, 1, "train", held(1.0, {1: [b"one"]}), [b"one"])
    assert before(state, 1) is None, "round 1 again starts from nothing again"
    assert value(before(state, 1, "evaluate")) == 1.0
    finish(state, 1, "evaluate", held(1.5))
    assert value(before(state, 2, "query")) == value(before(state, 2)) == 1.5
    finish(state, 2, "train", held(2.0))
    finish(state, 3, "train", held(3.0))
    for _ in range(2):
        assert value(before(DeviceState(tmp_path), 3)) == 2.0
        finish(state, 3, "train", held(3.0))
    assert value(before(state, 9)) == 3.0
    with pytest.raises(DataError, match="round 2 is over: this device has finished round 3"):
        before(state, 2)


def test_a_repeated_training_forgets_the_evaluation_after_it(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    finish(state, 1, "train", held(1.0))
    finish(state, 1, "evaluate", held(1.5))
    finish(state, 1, "train", held(1.0))
    assert value(before(state, 2)) == 1.0


def test_only_what_the_last_two_rounds_need_stays_on_the_disk(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    for number in range(1, 6):
        clip = b"clip %d" % number
        finish(state, number, "train", held(number, {number: [clip]}), [clip])
    folder = tmp_path / JOB
    (folder / "payloads" / "left.part").write_bytes(b"by a process that was killed")
    assert sorted(path.name for path in folder.glob("*.json")) == ["000004-train.json", "000005-train.json"]
    assert len(list((folder / "arrays").iterdir())) == 2
    finish(state, 6, "train", held(6.0))
    assert {path.read_bytes() for path in (folder / "payloads").iterdir()} == {b"clip 5"}


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_process_killed_at_any_write_leaves_the_old_state_or_the_new_one(at: str, tmp_path: Path) -> None:
    real = os.replace
    outcomes = []
    for kill in range(1, 20):
        state = DeviceState(tmp_path / str(kill))
        old, new = held(1.0, {1: [b"old"]}), held(2.0, {1: [b"old"], 2: [b"new", b"newer"]})
        finish(state, 1, "train", old, [b"old"])

        def killed(state: DeviceState = state, new: Held = new, kill: int = kill) -> None:
            count = 0

            def replace(source: str, target: Path) -> None:
                nonlocal count
                count += 1
                if count == kill and at == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                real(source, target)
                if count == kill:
                    os.kill(os.getpid(), signal.SIGKILL)

            os.replace = replace  # type: ignore[assignment]
            finish(state, 2, "train", new, [b"new", b"newer"])

        code = in_a_child(killed)
        found = before(DeviceState(state.path), 3)
        assert found is not None
        outcomes.append(value(found))
        assert payloads(state, found) == ([b"old"] if value(found) == 1.0 else [b"old", b"new", b"newer"])
        finish(state, 2, "train", new, [b"new", b"newer"])  # the message comes again
        assert value(before(state, 3)) == 2.0
        assert not list(state.path.rglob("*.part"))
        if code == 0:
            break
    assert code == 0
    assert len(outcomes) == 5, "two payloads, one file of arrays, the manifest, and the undisturbed run"
    assert outcomes == sorted(outcomes)


@pytest.mark.parametrize("which", ["manifest", "arrays"])
@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: d[:-1] + bytes([d[-1] ^ 1]), lambda d: b""])
def test_a_damaged_state_is_named_and_the_one_before_it_is_used(
    which: str, damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = DeviceState(tmp_path)
    finish(state, 1, "train", held(1.0))
    others = set((tmp_path / JOB / "arrays").iterdir())
    finish(state, 2, "train", held(2.0))
    if which == "manifest":
        path = tmp_path / JOB / "000002-train.json"
    else:
        (path,) = set((tmp_path / JOB / "arrays").iterdir()) - others
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        assert value(before(state, 3)) == 1.0
    assert str(path) in caplog.text
    assert "torn or altered" in caplog.text
    finish(state, 3, "train", held(3.0))
    assert value(before(state, 4)) == 3.0


def test_a_damaged_payload_costs_itself_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = DeviceState(tmp_path)
    finish(state, 1, "train", held(1.0, {1: [b"one", b"two"]}), [b"one", b"two"])
    path = tmp_path / JOB / "payloads" / name_of(b"one")
    path.write_bytes(b"on")
    found = before(state, 2)
    assert found is not None
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        assert payloads(state, found) == [b"two"]
    assert str(path) in caplog.text
    finish(state, 2, "train", found, [b"one"])
    assert payloads(state, found) == [b"one", b"two"], "it came again and replaced the damaged file"


def test_two_processes_do_not_work_on_one_job_at_once(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    order = tmp_path / "order"

    def work(name: str) -> None:
        with state.job(JOB), order.open("a") as file:
            file.write(f"{name} ")

    with state.job(JOB), order.open("a") as file:
        child = os.fork()
        if child == 0:
            work("second")
            os._exit(0)
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
        file.write("first ")
        file.flush()
    os.waitpid(child, 0)
    assert order.read_text() == "first second "


def test_the_oldest_payloads_give_way_to_the_budget(tmp_path: Path) -> None:
    state = DeviceState(tmp_path, budget=1000)
    found = Held()
    clips = {number: [bytes([number, i]) * 100 for i in range(2)] for number in (1, 2, 3)}
    for number, new in clips.items():
        found = found.with_received(number, {name_of(clip): len(clip) for clip in new}).fitting(1000, 51)
        finish(state, number, "train", found, [clip for clip in new if name_of(clip) in found.kept])
    assert payloads(state, found) == [clips[2][1], *clips[3]], "4 x 51 bytes are reserved, 600 of the other 796 fit"
    kept = list((tmp_path / JOB / "payloads").iterdir())
    assert sum(path.stat().st_size for path in kept) <= 800
    assert found.names == [name_of(clip) for new in clips.values() for clip in new], "the fog need not send them again"
    again = found.with_received(4, {name_of(clips[1][0]): 200})
    assert again.kept == found.kept, "what has been let go stays so when it comes again"


def test_a_budget_below_the_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="a budget of 1,000 bytes is too small for models of 251 bytes"):
        Held().fitting(1000, 251)
    with pytest.raises(ConfigError, match="greater than 0"):
        DeviceState(Path(), budget=0)


def test_other_jobs_give_way_first_and_the_oldest_of_them_before_the_others(tmp_path: Path) -> None:
    state = DeviceState(tmp_path, budget=100_000)
    for job in ("young", "old", "middle"):
        clip = job.encode() * 5000
        finish(state, 1, "train", held(1.0, {1: [clip]}), [clip], job=job)
        then = 1e9 - {"young": 0, "middle": 1, "old": 2}[job]
        os.utime(tmp_path / job / "lock", (then, then))
    assert {path.name for path in tmp_path.iterdir()} == {"young", "old", "middle"}
    clip = b"present" * 5000
    finish(state, 1, "train", held(1.0, {1: [clip]}), [clip])
    assert {path.name for path in tmp_path.iterdir()} == {"young", "middle", JOB}
    with DeviceState(tmp_path).job("middle"):
        code = in_a_child(lambda: finish(DeviceState(tmp_path, 50_000), 1, "evaluate", held(1.0, {1: [clip]}), [clip]))
    assert code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"middle", JOB}, "a job at work stays"


@pytest.mark.parametrize("job", ["", "..", "a/b", "A", "x" * 65, "a\n", "."])
def test_a_job_cannot_leave_the_folder(job: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the job's id"), DeviceState(tmp_path).job(job):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(DataError, match=r"file/.* cannot be used: Not a directory"),
        DeviceState(tmp_path / "file").job(JOB),
    ):
        pass


def test_a_full_disk_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    finish(state, 1, "train", held(1.0, {1: [b"one"]}), [b"one"])
    big = b"x" * 100_000

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        with pytest.raises(DataError, match=r"payloads/[0-9a-f]{64} cannot be written: File too large; free space"):
            finish(state, 2, "train", held(2.0, {2: [big]}), [big])

    assert in_a_child(fill) == 0
    found = before(state, 2)
    assert value(found) == 1.0
    assert found is not None
    assert payloads(state, found) == [b"one"]


# A whole device


def clip(name: str, seed: int, class_name: str = "cup") -> Clip:
    images = np.random.default_rng(seed).integers(0, 255, (2, 32, 32, 3), np.uint8)
    box = np.array([[4, 4, 20, 16]], np.float32)
    return Clip(name, tuple(Frame(i, box, np.zeros(1, np.int64), write_jpeg(i, 90)) for i in images), (class_name,))


def payload(seed: int, class_name: str = "cup") -> bytes:
    return codecs.create("jpeg").encode(clip("other", seed, class_name))


def make(path: Path) -> DeviceFolder:
    captures = [[clip(f"clip {number}", number)] for number in (1, 2, 3)]
    return DeviceFolder.write(path, "camera-1", captures, clip("rest", 9))


def ask(folder: DeviceFolder, kind: str, content: RecordDict, budget: int = BUDGET) -> RecordDict:
    """Send a message to the device as a process that has just started would find it."""
    app = client_app(lambda context: EdgeDevice(folder, state=DeviceState(folder.path / "state", budget)))
    message = Message(content, dst_node_id=7, message_type=kind)
    message.metadata.__dict__["_message_id"] = "1"
    return app(message_from_proto(message_to_proto(message)), Context(1, 7, {}, RecordDict(), {})).content


def train(
    folder: DeviceFolder,
    server_round: int,
    brought: Iterable[bytes] = (),
    model: ArrayRecord | None = None,
    budget: int = BUDGET,
) -> RecordDict:
    config = ConfigRecord({**TRAINING.to_config(), "server-round": server_round, "job": JOB})
    records = {"config": config, "payloads": payloads_record(list(brought))}
    return ask(folder, "train", RecordDict({**records, "arrays": model or ArrayRecord()}), budget)


def query(folder: DeviceFolder, server_round: int) -> ConfigRecord:
    content = query_content(server_round, None)
    content["config"]["job"] = JOB
    return ask(folder, "query", content).config_records["captures"]


def same(a: RecordDict, b: RecordDict) -> bool:
    """The same model, bit for bit, from the same frames."""
    one, other = a.array_records["arrays"], b.array_records["arrays"]
    frames = [record.metric_records["metrics"]["num-examples"] for record in (a, b)]
    return list(one) == list(other) and all(one[k].data == other[k].data for k in one) and frames[0] == frames[1]


def test_restarts_and_repetitions_change_nothing(tmp_path: Path) -> None:
    calm, rough = make(tmp_path / "calm"), make(tmp_path / "rough")
    first = train(calm, 1, [payload(50)])
    second = train(calm, 2, [payload(51)])
    assert same(train(rough, 1, [payload(50)]), first)
    assert same(train(rough, 1, [payload(50)]), first), "the fog repeats its running round"
    assert query(rough, 2)["holds"] == holds_digest([name_of(payload(50))])
    assert same(train(rough, 2, [payload(51)]), second)
    assert same(train(rough, 2, [payload(51)]), second)
    assert not same(first, second)
    with pytest.raises(DataError, match="round 1 is over"):
        train(rough, 1, [payload(50)])
    assert query(rough, 3)["holds"] == holds_digest([name_of(payload(50)), name_of(payload(51))])


def test_a_repeated_round_under_a_tight_budget_trains_on_the_same_frames(tmp_path: Path) -> None:
    folder = make(tmp_path)
    model = sum(array.nbytes for array in TRAINING.detector().state().values())
    budget = ARRAYS_KEPT * model + len(payload(51)) + len(payload(50)) // 2
    train(folder, 1, [payload(50)], budget=budget)
    first = train(folder, 2, [payload(51)], budget=budget)
    assert first.metric_records["metrics"]["num-examples"] == 2 * 2 + 2, "the payload of round 1 has been let go"
    assert same(train(folder, 2, [payload(51)], budget=budget), first)
    assert query(folder, 3)["holds"] == holds_digest([name_of(payload(50)), name_of(payload(51))])
    used = sum(path.stat().st_size for path in (folder.path / "state").rglob("*") if path.is_file())
    assert used <= budget


def test_a_wiped_device_says_that_it_holds_nothing(tmp_path: Path) -> None:
    folder = make(tmp_path)
    assert query(folder, 1)["holds"] == ""
    train(folder, 1)
    assert query(folder, 2)["holds"] == holds_digest([])
    shutil.rmtree(folder.path / "state")
    assert query(folder, 2)["holds"] == ""


def test_a_bad_payload_costs_itself_alone_and_is_not_held(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make(tmp_path)
    cut, strange = payload(50)[:-9], payload(51, "elephant")
    with caplog.at_level(logging.WARNING, "flwr.rinr_flower"):
        metrics = train(folder, 1, [cut, payload(52), strange]).metric_records["metrics"]
    assert (metrics["num-examples"], metrics["refused-payloads"]) == (2 + 2, 2)
    assert name_of(cut) in caplog.text
    assert "class 'elephant', and the detector knows 1 classes: cup" in caplog.text
    assert query(folder, 2)["holds"] == holds_digest([name_of(payload(52))])
    metrics = train(folder, 2, [payload(50)]).metric_records["metrics"]
    assert metrics["num-examples"] == 2 * 2 + 2 * 2, "two clips of its own and two of others"
    assert "refused-payloads" not in metrics


def _changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict[str, Array]], None]:
    def apply(arrays: dict[str, Array]) -> None:
        arrays[name] = Array(change(arrays[name].numpy().copy()))

    return apply


def _pickled(arrays: dict[str, Array]) -> None:
    old = arrays["model.0.conv.weight"]
    data = b"\x80\x04\x95cos\nsystem\n."
    arrays["model.0.conv.weight"] = Array(old.dtype, old.shape, old.stype, data)


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (_changed("model.0.conv.weight", lambda a: a * np.float32(np.nan)), "'model.0.conv.weight' holds nan"),
        (_changed("model.0.bn.bias", lambda a: a + np.float32(np.inf)), "'model.0.bn.bias' holds inf"),
        (_changed("model.0.conv.weight", lambda a: a * np.float32(1e9)), "holds .*e\\+0.* at most 1e\\+06"),
        (_changed("model.0.conv.weight", lambda a: a[:, :1]), "'model.0.conv.weight' has the shape"),
        (lambda arrays: arrays.pop("model.0.conv.weight"), "lacks 'model.0.conv.weight'"),
        (_pickled, "'model.0.conv.weight' cannot be read"),
    ],
    ids=["NaN", "infinite", "exploding", "another shape", "a name too few", "pickle"],
)
def test_a_hostile_model_is_refused_and_the_device_stays_as_it_was(
    spoil: Callable[[dict[str, Array]], None], text: str, tmp_path: Path
) -> None:
    folder = make(tmp_path)
    arrays = {name: Array(array) for name, array in TRAINING.detector().state().items()}
    spoil(arrays)
    with pytest.raises(DataError, match=text):
        train(folder, 1, [payload(50)], ArrayRecord(arrays))
    assert query(folder, 1)["holds"] == ""
