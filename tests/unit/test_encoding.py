"""Encoders of the fog node: the same bytes in one process and over Ray, and a clip that fails costs only itself."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from rinr_flower.codecs import Codec, codecs, decode
from rinr_flower.codecs.base import Progress
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip, Frame
from rinr_flower.rendering.renderer import Renderer
from rinr_flower.strategies.encoding import FRAMES_AT_ONCE, Encoder, EncodingError, RayEncoder, encode_here

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


CLIPS = [clip_of("a", 2, 0), clip_of("b", 1, 1), clip_of("long", FRAMES_AT_ONCE + 2, 2), clip_of("c", 3, 3, 48, 32)]


@dataclass(frozen=True)
class Failing(Codec):
    """JPEG, but clips named ``bad`` are an error and clips named ``fatal`` end the process that encodes them."""

    name: ClassVar[str] = "jpeg"
    tries: str = ""

    def encode_parts(
        self, clips: Sequence[Clip], *, seed: int, device: torch.device, progress: Progress | None
    ) -> list[Mapping[str, bytes]]:
        if self.tries:
            with Path(self.tries).open("a") as file:
                file.write(" ".join(c.name for c in clips) + "\n")
        for clip in clips:
            if clip.name == "bad":
                raise DataError("this clip cannot be encoded\nby anyone")
            if clip.name == "fatal":
                os._exit(1)
        return codecs.create("jpeg").encode_parts(clips, seed=seed, device=device, progress=progress)

    @classmethod
    def renderer(cls, device: torch.device) -> Renderer:
        return codecs.get("jpeg").renderer(device)


def run(encoder: Encoder, codec: Codec, clips: Sequence[Clip], progress: Progress | None = None) -> dict[int, bytes]:
    done: dict[int, bytes] = {}
    for index, payload, seconds in encoder(codec, clips, seed=3, device="cpu", progress=progress):
        assert index not in done
        assert seconds > 0
        done[index] = payload
    return done


@pytest.fixture(scope="module")
def ray_encoder() -> Iterator[RayEncoder]:
    """Two workers on a Ray of their own, as outside a simulation."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test
        yield RayEncoder(2)
        ray.shutdown()


@pytest.mark.parametrize("name", codecs.names())
def test_grouping_does_not_change_a_codecs_bytes(name: str) -> None:
    codec = codecs.create(name, **QUICK.get(name, {}))
    alone = [run(encode_here, codec, [clip])[0] for clip in CLIPS]
    assert run(encode_here, codec, CLIPS) == dict(enumerate(alone))
    assert [decode(payload).images().shape for payload in alone] == [clip.images().shape for clip in CLIPS]


@pytest.mark.parametrize("name", codecs.names())
def test_ray_gives_the_same_bytes(name: str, ray_encoder: RayEncoder) -> None:
    codec = codecs.create(name, **QUICK.get(name, {}))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # whatever the fog's process has
    try:
        here = run(encode_here, codec, CLIPS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert run(ray_encoder, codec, CLIPS) == here


def test_clips_of_few_frames_are_encoded_together(tmp_path: Path) -> None:
    single = [clip_of(str(i), 1, i) for i in range(FRAMES_AT_ONCE + 1)]
    run(encode_here, Failing(tries=str(tmp_path / "tries")), [*single, CLIPS[2], CLIPS[0]])
    groups = [line.split() for line in (tmp_path / "tries").read_text().splitlines()]
    assert groups == [[str(i) for i in range(FRAMES_AT_ONCE)], [str(FRAMES_AT_ONCE)], ["long"], ["a"]]


def failing_in(encoder: Encoder, clips: Sequence[Clip]) -> tuple[set[int], EncodingError]:
    done: dict[int, bytes] = {}
    with pytest.raises(EncodingError) as caught:
        done.update((row[0], row[1]) for row in encoder(Failing(), clips, seed=0, device="cpu", progress=None))
    assert all(payload == codecs.create("jpeg").encode(clips[index]) for index, payload in done.items())
    return set(done), caught.value


def test_a_clip_that_fails_costs_only_itself() -> None:
    done, error = failing_in(encode_here, [CLIPS[0], clip_of("bad", 1, 0), CLIPS[1], CLIPS[2], clip_of("bad", 1, 0)])
    assert done == {0, 2, 3}
    assert error.reasons == {1: "this clip cannot be encoded", 4: "this clip cannot be encoded"}


def test_a_clip_that_cannot_be_read_costs_only_itself(ray_encoder: RayEncoder) -> None:
    class Unreadable(Watched):
        def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
            if index == 1:
                raise DataError("not a payload")
            return self.clips[index]

    for encoder in (encode_here, ray_encoder):
        done, error = failing_in(encoder, Unreadable(CLIPS))
        assert done == {0, 2, 3}
        assert error.reasons == {1: "not a payload"}


def test_a_worker_that_dies_costs_only_the_clip_that_kills_it(ray_encoder: RayEncoder) -> None:
    clips = [CLIPS[0], clip_of("fatal", 1, 0), CLIPS[1], CLIPS[2], clip_of("bad", 1, 0)]
    done, error = failing_in(ray_encoder, clips)
    assert done == {0, 2, 3}
    assert sorted(error.reasons) == [1, 4]
    assert "died twice" in error.reasons[1]
    assert error.reasons[4] == "this clip cannot be encoded"


class Watched(Sequence[Clip]):
    """Clips that say which of them have been asked for."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.clips, self.asked = clips, 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
        self.asked = max(self.asked, index + 1)
        return self.clips[index]


@pytest.mark.parametrize("here", [True, False])
def test_clips_are_taken_as_they_are_needed(here: bool, ray_encoder: RayEncoder) -> None:
    clips = Watched([clip_of(str(i), FRAMES_AT_ONCE, i) for i in range(8)])
    encoder: Encoder = encode_here if here else ray_encoder
    finished = 0
    for _ in encoder(codecs.create("jpeg"), clips, seed=0, device="cpu", progress=None):
        # in flight, and one that was read to see whether it still fits into the group before it
        assert clips.asked <= finished + (1 if here else 3) + 1
        finished += 1
    assert finished == len(clips)


@pytest.mark.parametrize("here", [True, False])
def test_progress_ends_at_one_and_never_falls(here: bool, ray_encoder: RayEncoder) -> None:
    told: list[float] = []
    run(encode_here if here else ray_encoder, codecs.create("jpeg"), CLIPS, told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
    assert 0 <= told[0] <= 1


def test_nothing_to_encode(ray_encoder: RayEncoder) -> None:
    assert run(encode_here, codecs.create("jpeg"), []) == {}
    assert run(ray_encoder, codecs.create("jpeg"), []) == {}


def test_the_example_of_the_docs(ray_encoder: RayEncoder, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    exec(compile(example, "docs/scale.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_an_encoder_without_workers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        RayEncoder(0)
    with pytest.raises(ConfigError, match="at least 0"):
        RayEncoder(1, cpus=-1)
