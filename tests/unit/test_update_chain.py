"""The chain of updates that a fog keeps, and the records that updates and models travel in."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from update_wire import same

from rinr_flower.errors import DataError, PayloadError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.common_model import arrays_of, catch_up, tensors_of
from rinr_flower.messages.protocol import bytes_array, read_updates
from rinr_flower.strategies.update_chain import UpdateChain
from rinr_flower.updates import Full, SparseTernary, apply_update
from rinr_flower.updates.layout import fingerprint


def test_a_device_that_cannot_use_an_update_gets_the_whole_model_however_small_the_update_is() -> None:
    start = ArrayRecord({"w": Array(np.zeros((64, 64), np.float32))})
    chain = UpdateChain(StartModel(start, ArrayRecord({"w": Array(np.zeros(1, np.float32))})))
    after = {"w": chain.state["w"] + torch.randn(64, 64)}
    chain.advance(SparseTernary(fraction=0.01).compress(dict(chain.state), after, seed=0))
    chain.content("a")
    chain.missed("a", unusable=True)
    content = chain.content("a")
    assert content["arrays"] == chain.arrays
    assert list(content["updates"]) == ["model"]
    chain.confirm("a")
    assert not chain.content("a")["arrays"]
    chain.forget("a")
    assert len(chain.content("a")["updates"]) == 2, "it begins like a new one"


def test_the_whole_model_is_sent_where_it_is_smaller_than_what_was_missed() -> None:
    start = ArrayRecord({"w": Array(np.zeros((4, 4), np.float32))})
    chain = UpdateChain(StartModel(start, start))
    chain.content("a")
    chain.confirm("a")
    compressor = SparseTernary(fraction=0.1)
    choices = []
    for number in range(8):
        before = dict(chain.state)
        chain.advance(compressor.compress(before, {"w": before["w"] + torch.randn(4, 4)}, seed=number))
        missing, whole = sum(map(len, chain.updates)), sum(len(array.data) for array in chain.arrays.values())
        content = chain.content("a")
        assert bool(content["arrays"]) == (missing >= whole)
        assert len(content["updates"]) - 1 == (0 if missing >= whole else number + 1), "the model, and updates"
        choices.append(bool(content["arrays"]))
    assert choices[0] is False
    assert choices[-1] is True


def test_catching_up_starts_at_the_model_that_is_held() -> None:
    states = [{"w": torch.full((4, 4), float(i))} for i in range(4)]
    chain = [Full().compress(a, b) for a, b in pairwise(states)]
    target = fingerprint(states[-1])
    for state in states:
        assert same(dict(catch_up(state, chain, target)), states[-1])
    with pytest.raises(PayloadError, match="none of them"):
        catch_up({"w": torch.full((4, 4), 9.0)}, chain, target)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (ConfigRecord({"payloads": [b"x"], "model": b"x"}), "must be an ArrayRecord"),
        (ArrayRecord({"0": bytes_array(b"x")}), "has no array 'model'"),
        (ArrayRecord({"0": Array(np.zeros(2)), "model": bytes_array(b"x")}), "array '0' .* not 'rinr'"),
    ],
    ids=["an earlier version", "no fingerprint", "another kind of array"],
)
def test_malformed_update_records_are_named(record: ConfigRecord | ArrayRecord, text: str) -> None:
    with pytest.raises(DataError, match=text):
        read_updates(RecordDict({"updates": record}))


def test_arrays_survive_the_way_there_and_back() -> None:
    state = {"a": torch.randn(3, 2), "b": torch.zeros(()), "c": torch.arange(4)}
    assert same(tensors_of(arrays_of(state)), state)
    assert same(apply_update(state, Full().compress(state, state)), state)
