"""Writing a fog node's state down after every round, and resuming a run from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rinr_flower.errors import ConfigError
from rinr_flower.messages.coded_model import StartModel
from rinr_flower.messages.records import arrays_of_record, record_of
from rinr_flower.strategies.inner import (
    arrays_in,
    check_resumable,
    prefixed,
    put_arrays,
    put_values,
    under,
    values_in,
)

if TYPE_CHECKING:
    from rinr_flower.strategies.fog_node import FogNode


def save(fog: FogNode, server_round: int, seconds: float) -> None:
    """Write down what is known after a round, in one piece and after the ledger."""
    fog.ledger.flush()
    state = {"strategy": describe(fog), "seconds": seconds, "ledger": len(fog.ledger), **fog.memory.state()}
    state["values"] = values_in(fog.inner)
    arrays = prefixed("inner", arrays_in(fog.inner))
    if server_round == 0:
        coded = None if fog.start_model is None else fog.start_model.coded
        blob = None if coded is None else fog.keep.put("updates", coded)
        state["start"] = None if blob is None else [blob.name, blob.size]
    if server_round == 0 or not fog.at_start:
        arrays |= prefixed("model", arrays_of_record(fog.arrays))
    if fog.policy.common is not None:
        state |= fog.policy.common.state(fog.keep)
        arrays |= fog.policy.common.arrays()
    fog.keep.save_round(server_round, {**state, **fog.policy.state()}, arrays)


def restore(fog: FogNode) -> None:
    """Restore the state after the last whole round, if ``fog.keep`` holds any.

    Raises
    ------
    ConfigError
        If the run was begun with other settings.
    DataError
        If what was kept cannot be read.
    """
    kept = fog.keep.load()
    if kept is None:
        return
    check_same(kept.rounds[-1]["strategy"], describe(fog))
    fog.memory.restore(kept.rounds, fog.keep)
    coded = kept.rounds[0]["start"]
    fog.arrays = record_of(under("model", kept.first))
    fog.start_model = StartModel.restored(fog.arrays, None if coded is None else fog.keep.get("updates", *coded).data)
    if fog.memory.rounds and (model := under("model", kept.last)):
        fog.arrays = record_of(model)
    if fog.memory.rounds:
        check_resumable(fog.inner)
    put_values(fog.inner, kept.rounds[-1]["values"])
    put_arrays(fog.inner, under("inner", kept.last))
    fog.policy.restore(kept.rounds[-1])
    if fog.policy.common is not None:
        fog.policy.common.restore(kept.rounds, kept.last, fog.keep, fog.start_model, fog.arrays)
    fog.ledger.break_off(int(kept.rounds[-1]["ledger"]))


def describe(strategy: FogNode) -> dict[str, Any]:
    """The settings on which payloads, model and ledger of a run depend, as JSON values."""
    return {
        "strategy": type(strategy).__name__,
        "codec": repr(strategy.codec),
        "upload": strategy.upload,
        "relay": not strategy.meter.direct,
        "inner": strategy.inner_settings,
        "min_devices": strategy.min_devices,
        "fraction_query": strategy.fraction_query,
        "seed": strategy.seed,
        **strategy.policy.settings(),
    }


def check_same(kept: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """ConfigError that names the first setting in which the strategy differs from the one that was broken off."""
    for key, value in now.items():
        if _comparable(kept.get(key)) != _comparable(value):
            raise ConfigError(
                f"the run was begun with {key} {kept.get(key)!r}, not {value!r}; give the same settings, or begin a "
                "new run in a new folder"
            )


def _comparable(value: Any) -> Any:
    """A JSON value as it is read again, with texts for NaN and infinity: NaN is not equal to itself."""
    return json.loads(json.dumps(value), parse_constant=str)
