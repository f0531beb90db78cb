"""Encoders of the fog node: the same bytes in one process and in workers, and a clip that fails costs only itself."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from failing_codec import Failing

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.errors import ConfigError
from rinr_flower.frames import Clip, Frame
from rinr_flower.messages.protocol import Capture
from rinr_flower.strategies.encode_once import encode_once
from rinr_flower.strategies.encoding import (
    FRAMES_AT_ONCE,
    Encoded,
    Encoder,
    Upload,
    WorkerEncoder,
    encode_here,
    ray_encoder,
)
from rinr_flower.strategies.keeping import Captured, InMemory
from rinr_flower.workers.local import LocalWorkers
from rinr_flower.workers.pool import WorkerDiedError, WorkerError

QUICK = {
    "rapid_inr": {"hidden": 8, "layers": 2, "steps": 40, "batch_points": 256},
    "nerv": {"steps": 20},
    "residual": {"background": "jpeg", "steps": 30, "candidates": 2, "batch_points": 64},
    "scene": {"preset": "fast"},
}


def clip_of(name: str, frames: int, seed: int, width: int = 64, height: int = 48) -> Clip:
    """A photograph-like picture that drifts, with one box in each frame."""
    generator = np.random.default_rng(seed)
    wide = np.kron(generator.integers(0, 255, (height // 8, width // 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    box, kind = np.array([[8.0, 8, 40, 32]], np.float32), np.zeros(1, np.int64)
    return Clip(name, tuple(Frame(np.ascontiguousarray(wide[:, t : t + width]), box, kind) for t in range(frames)))


def upload_of(name: str, frames: int, seed: int, width: int = 64, height: int = 48) -> Upload:
    return Upload.of(clip_of(name, frames, seed, width, height))


UPLOADS = [upload_of("a", 2, 0), upload_of("b", 1, 1), upload_of("long", FRAMES_AT_ONCE + 2, 2)]
UPLOADS.append(upload_of("c", 3, 3, 48, 32))


def encoded(encoder: Encoder, codec: Codec | None, uploads: Iterable[Upload]) -> dict[int, Encoded]:
    done: dict[int, Encoded] = {}
    for row in encoder(codec, uploads, seed=3, device="cpu"):
        assert row.index not in done
        done[row.index] = row
    return done


def payloads(encoder: Encoder, codec: Codec, uploads: Iterable[Upload]) -> dict[int, bytes | None]:
    rows = encoded(encoder, codec, uploads)
    assert all(row.encode_seconds > 0 and row.decode_seconds > 0 for row in rows.values())
    return {index: row.payload for index, row in sorted(rows.items())}


@pytest.fixture(scope="module")
def in_workers() -> Iterator[WorkerEncoder]:
    """Two processes of this machine."""
    encoder = WorkerEncoder(LocalWorkers(2))
    yield encoder
    encoder.workers.close()


@pytest.mark.parametrize("name", codecs.names())
def test_grouping_does_not_change_a_codecs_bytes(name: str) -> None:
    codec = codecs.create(name, **QUICK.get(name, {}))
    alone = [payloads(encode_here, codec, [upload])[0] for upload in UPLOADS]
    assert payloads(encode_here, codec, UPLOADS) == dict(enumerate(alone))
    assert [len(decode(data)) for data in alone if data] == [len(upload.payload) for upload in UPLOADS]


@pytest.mark.parametrize("name", codecs.names())
def test_workers_give_the_same_bytes(name: str, in_workers: WorkerEncoder) -> None:
    codec = codecs.create(name, **QUICK.get(name, {}))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # whatever the fog's process has
    try:
        here = payloads(encode_here, codec, UPLOADS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert payloads(in_workers, codec, UPLOADS) == here


def test_a_payload_is_that_of_the_decoded_upload() -> None:
    codec = codecs.create("webp", quality=30)
    for index, upload in enumerate(UPLOADS):
        clip = decode(upload.payload.to_bytes())
        assert payloads(encode_here, codec, UPLOADS)[index] == codec.encode(clip, seed=3)


def test_clips_of_few_frames_are_encoded_together(tmp_path: Path) -> None:
    single = [upload_of(str(i), 1, i) for i in range(FRAMES_AT_ONCE + 1)]
    payloads(encode_here, Failing(tries=str(tmp_path / "tries")), [*single, UPLOADS[2], UPLOADS[0]])
    groups = [line.split() for line in (tmp_path / "tries").read_text().splitlines()]
    assert groups == [[str(i) for i in range(FRAMES_AT_ONCE)], [str(FRAMES_AT_ONCE)], ["long"], ["a"]]


def broken(upload: Upload) -> Upload:
    """Its JPEG files are zeros."""
    parts = {name: b"\0" * len(data) for name, data in upload.payload.parts.items()}
    return Upload(upload.name, type(upload.payload)(**{**vars(upload.payload), "parts": parts}))


@pytest.mark.parametrize("where", ["here", "workers"])
def test_an_upload_that_fails_costs_only_itself(where: str, in_workers: WorkerEncoder) -> None:
    encoder = encode_here if where == "here" else in_workers
    bad = upload_of("bad", 1, 0)
    rows = encoded(encoder, Failing(), [UPLOADS[0], bad, broken(UPLOADS[1]), UPLOADS[1], UPLOADS[2], bad])
    assert {index for index, row in rows.items() if row.payload} == {0, 3, 4}
    assert rows[1].reason == rows[5].reason == "this clip cannot be encoded"
    assert rows[2].reason.startswith("jpeg payload has")
    assert {index for index, row in rows.items() if row.by_codec} == {1, 5}


@pytest.mark.parametrize("where", ["here", "workers"])
def test_without_a_codec_uploads_are_checked(where: str, in_workers: WorkerEncoder) -> None:
    rows = encoded(encode_here if where == "here" else in_workers, None, [UPLOADS[0], broken(UPLOADS[1]), UPLOADS[2]])
    assert [row.payload for row in rows.values()] == [None] * 3
    assert {index for index, row in rows.items() if row.reason} == {1}


def test_a_worker_that_dies_costs_only_the_clip_that_kills_it(in_workers: WorkerEncoder) -> None:
    fatal = [upload_of("fatal", 1, 0)] * 4  # more in a row than starts of workers may fail
    uploads = [UPLOADS[0], *fatal, UPLOADS[1], UPLOADS[2], upload_of("bad", 1, 0)]
    rows = encoded(in_workers, Failing(), uploads)
    assert {index for index, row in rows.items() if row.payload} == {0, 5, 6}
    assert {rows[index].reason for index in (1, 2, 3, 4)} == {
        f"twice its worker died: its process died (signal {int(signal.SIGSEGV)})"
    }
    assert payloads(in_workers, Failing(), UPLOADS) == payloads(encode_here, Failing(), UPLOADS)


def test_a_capture_is_decoded_once_and_in_a_worker(in_workers: WorkerEncoder) -> None:
    keep = InMemory()
    data = [upload.payload.to_bytes() for upload in UPLOADS[:2]]
    uploads = [Capture("cam", name, 1, payload) for name, payload in zip("ab", data, strict=True)]
    captures = [Captured.of(upload, keep) for upload in [*uploads, Capture("other", "torn", 1, data[0][:-9])]]
    told: list[float] = []
    made = encode_once(
        codecs.create("webp"),
        captures,
        keep,
        in_workers,
        seed=0,
        device="cpu",
        decode_seconds=9,
        progress=told.append,
    )
    assert [item.payload is not None for item in made] == [True, True, False]
    assert "payload" in made[2].reason
    assert told == sorted(told)
    assert told[-1] == 1


def test_what_takes_a_device_too_long_to_decode_is_left() -> None:
    uploads = [Capture(name, "clip", 1, UPLOADS[2].payload.to_bytes()) for name in ["slow"] * 3 + ["other"]]
    keep = InMemory()
    captures = [Captured.of(upload, keep) for upload in uploads]
    options = {"seed": 0, "device": "cpu", "decode_seconds": 1e-9}
    made = encode_once(None, captures, keep, encode_here, **options)  # type: ignore[arg-type]
    assert [item.reason[:11] for item in made] == ["", "", "not decoded", "not decoded"]


@pytest.mark.parametrize("where", ["here", "workers"])
def test_uploads_are_taken_as_workers_become_free(where: str, in_workers: WorkerEncoder) -> None:
    asked = 0

    def arriving() -> Iterator[Upload]:
        nonlocal asked
        for i in range(8):
            asked = i + 1
            yield upload_of(str(i), FRAMES_AT_ONCE, i)

    encoder: Encoder = encode_here if where == "here" else in_workers
    finished = 0
    for _ in encoder(codecs.create("jpeg"), arriving(), seed=0, device="cpu"):
        # in flight, and one that was read to see whether it still fits into the group before it
        assert asked <= finished + (1 if where == "here" else 3) + 1
        finished += 1
    assert finished == 8


def test_uploads_are_encoded_while_others_are_on_their_way(in_workers: WorkerEncoder, tmp_path: Path) -> None:
    keep, tries = InMemory(), tmp_path / "tries"
    data = [upload_of(name, FRAMES_AT_ONCE, 0).payload.to_bytes() for name in "ab"]

    def arriving() -> Iterator[Captured]:
        yield Captured.of(Capture("cam", "early", 1, data[0]), keep)
        end = time.monotonic() + 60
        while not tries.exists():
            assert time.monotonic() < end, "the first is not encoded before the second is there"
            time.sleep(0.05)
        yield Captured.of(Capture("cam", "late", 1, data[1]), keep)

    codec = Failing(tries=str(tries))
    made = encode_once(codec, arriving(), keep, in_workers, seed=0, device="cpu", decode_seconds=9)
    assert [(item.capture.clip, item.payload is not None) for item in made] == [("early", True), ("late", True)]


def test_what_is_called_while_it_waits_can_end_it(in_workers: WorkerEncoder) -> None:
    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(in_workers(Failing(), [upload_of("slow", 1, 0)], seed=0, device="cpu", tick=tick))
    assert payloads(in_workers, Failing(), UPLOADS) == payloads(encode_here, Failing(), UPLOADS)


def test_nothing_to_encode(in_workers: WorkerEncoder) -> None:
    assert encoded(encode_here, codecs.create("jpeg"), []) == {}
    assert encoded(in_workers, codecs.create("jpeg"), []) == {}


def test_the_example_of_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    try:
        exec(compile(example, "docs/scale.md", "exec"), {})
    finally:
        ray.shutdown()
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_encoder_without_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        ray_encoder(0)
    with pytest.raises(ConfigError, match="at least 0"):
        ray_encoder(1, cpus=-1)


def until(workers: LocalWorkers, done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        workers.step(0.1)


def test_a_job_that_takes_too_long_is_ended() -> None:
    workers = LocalWorkers(1)
    jobs = [workers.submit(time.sleep, 60, seconds=0.2), workers.submit(os.getpid)]
    until(workers, lambda: jobs[1].done)
    assert isinstance(jobs[0].error, WorkerDiedError)
    assert "longer than 0.2 seconds" in str(jobs[0].error)
    workers.close()
    assert not psutil.pid_exists(jobs[1].value)


def test_workers_that_cannot_start_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    workers = LocalWorkers(2)
    job = workers.submit(os.getpid)
    with pytest.raises(WorkerError, match="no worker can be started: its process died"):
        until(workers, lambda: job.done)
