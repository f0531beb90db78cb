"""What a device keeps on its disk, through kills, damage, repetition, full disks and a budget."""

from __future__ import annotations

import fcntl
import logging
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

from rinr_flower.clients import DeviceState
from rinr_flower.clients.device_state import Held
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.files import name_of

JOB = "0123456789abcdef"


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


def test_a_process_that_waits_for_a_job_that_is_removed_begins_it_anew(tmp_path: Path) -> None:
    state = DeviceState(tmp_path)
    finish(state, 1, "train", held(1.0))
    with (tmp_path / JOB / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = os.fork()
        if child == 0:
            lock.close()
            with state.job(JOB) as part:
                os._exit(0 if part.before(2, "train") is None else 1)
        time.sleep(0.3)
        shutil.rmtree(tmp_path / JOB)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_jobs_that_drive_each_other_out_do_not_fail(tmp_path: Path) -> None:
    """Four processes on two jobs, which do not fit together; each message ends with a state that its process wrote."""

    def work(number: int) -> None:
        state = DeviceState(tmp_path, budget=1)
        for turn in range(40):
            with state.job(f"job-{number % 2}") as part:
                part.before(turn + 1000, "train")
                part.finish(turn + 1, "train", held(turn), [bytes([number, turn])])
                assert value(part.before(turn + 2, "train")) == turn

    children = []
    for number in range(4):
        child = os.fork()
        if child == 0:
            try:
                work(number)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert {path.name for path in tmp_path.iterdir()} <= {"job-0", "job-1"}


def test_what_a_process_that_was_killed_left_of_a_removed_job_goes(tmp_path: Path) -> None:
    (tmp_path / "job.00.removed" / "arrays").mkdir(parents=True)
    finish(DeviceState(tmp_path), 1, "train", held(1.0))
    assert [path.name for path in tmp_path.iterdir()] == [JOB]


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
