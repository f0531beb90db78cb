"""Payloads that stay open for the next store of the process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from small_clips import small_clip

from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs
from rinr_flower.codecs.scene.decode import renderer
from rinr_flower.decoding import FrameStore
from rinr_flower.errors import PayloadError
from rinr_flower.rendering.opened import OPENED

CPU = torch.device("cpu")


@pytest.fixture
def kept() -> Iterator[None]:
    OPENED.keep(1 << 24)
    yield
    OPENED.keep(0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Payload]:
    """Payloads that were really opened."""
    found: list[Payload] = []
    real = renderer.open_scene

    def open_scene(payload: Payload, device: torch.device) -> object:
        found.append(payload)
        return real(payload, device)

    monkeypatch.setattr(renderer, "open_scene", open_scene)
    return found


def payload(seed: int) -> bytes:
    return codecs.create("scene").encode(small_clip("clip", seed, (48, 40)))


@pytest.mark.usefixtures("kept")
def test_the_next_store_takes_what_is_open_and_draws_the_same(opened: list[Payload]) -> None:
    one, other = payload(1), payload(2)
    first, second = FrameStore([one, other]), FrameStore([other, one])
    assert len(opened) == 2
    count = len(first) // 2
    mine = first.render(list(range(count)), (40, 48))
    assert torch.equal(mine, second.render(list(range(count, 2 * count)), (40, 48)))
    assert first.resident_bytes == second.resident_bytes == OPENED.resident_bytes


def test_nothing_is_kept_unless_it_is_asked_for(opened: list[Payload]) -> None:
    data = payload(1)
    FrameStore([data])
    FrameStore([data])
    assert len(opened) == 2
    assert OPENED.resident_bytes == 0


@pytest.mark.usefixtures("kept")
def test_over_the_limit_the_one_used_least_recently_goes(opened: list[Payload]) -> None:
    one, two, three = payload(1), payload(2), payload(3)
    each = max(FrameStore([data]).resident_bytes for data in (one, two, three))
    OPENED.keep(0)
    OPENED.keep(2 * each + each // 2)
    opened.clear()
    for data in (one, two, one, three):
        FrameStore([data])
    assert len(opened) == 3
    assert OPENED.resident_bytes <= 2 * each + each // 2
    FrameStore([one])
    assert len(opened) == 3
    FrameStore([two])
    assert len(opened) == 4


@pytest.mark.usefixtures("kept")
def test_what_differs_in_anything_is_opened_by_itself(opened: list[Payload]) -> None:
    parsed = Payload.from_bytes(payload(1))
    moved = tuple(boxes + 1 for boxes in parsed.boxes)
    for other in (parsed, replace(parsed, boxes=moved), replace(parsed, width=parsed.width + 1)):
        renderer.SceneRenderer(CPU).add(other)
    assert len(opened) == 3


@pytest.mark.usefixtures("kept")
def test_a_bad_payload_is_refused_each_time() -> None:
    parsed = Payload.from_bytes(payload(1))
    bad = replace(parsed, parts={**parsed.parts, "background": b"\xff" * 9})
    for _ in range(2):
        with pytest.raises(PayloadError):
            renderer.SceneRenderer(CPU).add(bad)
    assert OPENED.resident_bytes == 0


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_a_store_opens_its_payloads_at_once(monkeypatch: pytest.MonkeyPatch, cache_bytes: int) -> None:
    """Two openings wait for each other, which fails unless both run."""
    both, real = threading.Barrier(2), renderer.open_scene
    data = [payload(seed) for seed in range(4)]
    one_by_one = FrameStore(cache_bytes=cache_bytes)
    for one in data:
        one_by_one.add(one)

    def open_scene(given: Payload, device: torch.device) -> object:
        both.wait(timeout=60)
        return real(given, device)

    monkeypatch.setattr(renderer, "open_scene", open_scene)
    store = FrameStore(
        [data[0], codecs.create("jpeg").encode(small_clip("j", 9, (48, 40))), *data[1:]], cache_bytes=cache_bytes
    )
    frames = [0, 1, 4, 5, 6, 7, 8, 9]
    assert torch.equal(store.render(frames, (40, 48)), one_by_one.render(range(8), (40, 48)))
    assert not OPENED._ahead


@pytest.mark.usefixtures("two_threads")
def test_a_payload_that_cannot_be_opened_is_an_error_and_nothing_stays_behind() -> None:
    good, parts = payload(1), dict(Payload.from_bytes(payload(2)).parts)
    parts["background"] = parts["background"][:-1]
    bad = replace(Payload.from_bytes(payload(2)), parts=parts).to_bytes()
    with pytest.raises(PayloadError):
        FrameStore([good, bad, payload(3), payload(4)])
    assert not OPENED._ahead
    assert len(FrameStore([good])) == 2
