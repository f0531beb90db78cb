"""The policy of a fog node: what it sends its devices beside the inner strategy's messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from rinr_flower.messages.protocol import bytes_array
from rinr_flower.messages.training import Training
from rinr_flower.strategies.common_model import CommonModel
from rinr_flower.strategies.memory import FogMemory
from rinr_flower.strategies.metering import Clip

Progress = Callable[[str, float], None]
"""Called with the name of the work and the fraction done, 0 to 1."""


@dataclass(frozen=True)
class Round:
    """One round, from the moment its captures have been encoded.

    Attributes
    ----------
    number : from 1.
    devices : names of the devices whose captures are in.
    training : the round's training settings.
    memory : all clips shared so far, and what each device has of them.
    device : torch device that the fog computes on.
    progress : called during long work; None if nobody watches.
    """

    number: int
    devices: frozenset[str]
    training: Training
    memory: FogMemory
    device: str = "cpu"
    progress: Progress | None = None
    _payloads: dict[int, Array] = field(default_factory=dict)

    def payload(self, number: int) -> Array:
        """The payload of the shared clip ``number``: read once in a round, and the same Array in all messages."""
        if number not in self._payloads:
            self._payloads[number] = bytes_array(self.memory.shared[number].payload.data)
        return self._payloads[number]


@dataclass(frozen=True, eq=False)
class Outgoing:
    """Content of a message to one device, and the clips in it, which the ledger enters one by one."""

    content: RecordDict
    clips: Sequence[Clip] = ()


class Policy:
    """Adds nothing to the inner strategy's messages. A policy of your own overrides what it needs.

    A :class:`rinr_flower.strategies.FogNode` calls the methods in the order in which they stand here.

    Attributes
    ----------
    common : the model that fog and devices hold in common, kept in step by compressed updates; None if there is none.
    """

    common: CommonModel | None = None

    def settings(self) -> dict[str, Any]:
        """JSON values that must be the same when a run is resumed."""
        return {"policy": type(self).__name__}

    def summary(self) -> str:
        """One line for the log."""
        return "Nothing but the inner strategy's messages"

    def train_config(self, config: ConfigRecord) -> ConfigRecord:
        """The ``config`` that the inner strategy sends with its training messages."""
        return config

    def prepare(self, fog_round: Round) -> None:
        """Make what this round sends. Called after the captures were encoded, unless the round is skipped."""

    def train_content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        """Content for one device, made from the inner strategy's training message."""
        return Outgoing(content)

    def trained(self, content: RecordDict) -> RecordDict:
        """Content of a device's training answer as the inner strategy reads it.

        Raises
        ------
        RinrError
            If the answer cannot be used. It then costs its device the rest of the round.
        """
        return content

    def aggregated(
        self, fog_round: Round, arrays: ArrayRecord | None, metrics: MetricRecord | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The round's model and metrics, from what the inner strategy aggregated."""
        return arrays, metrics

    def evaluate_content(self, device: str, content: RecordDict) -> RecordDict:
        """Content for one device, made from the inner strategy's evaluation message."""
        return content

    def state(self) -> dict[str, Any]:
        """JSON values that :meth:`restore` needs to resume a run after this round."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state` gave after the last whole round."""
