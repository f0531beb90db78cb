"""Training at the fog: captures go up, compressed model updates come down."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from rinr_flower.bandwidth import FOG
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import Codec
from rinr_flower.errors import PayloadError, RinrError
from rinr_flower.messages.protocol import CONFIG, METRICS, NUM_EXAMPLES, TRAIN_HERE, check_classes
from rinr_flower.strategies.common_model import CommonModel
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.options import refuse
from rinr_flower.strategies.policy import Outgoing, Policy, Round
from rinr_flower.strategies.update_training import TrainedUpdate, train_update
from rinr_flower.updates import UpdateCompressor

log = getLogger("flwr.rinr_flower")


class TrainingAtFog(Policy):
    """Trains at the fog on all captures so far and sends every device what changed in the model in common.

    A capture with a class that the training does not name is left out, which is a failure of its device, noted once.

    Attributes
    ----------
    update : this round's, once :meth:`adopt` has taken it; None while the model is that of the round before.
    """

    common: CommonModel

    def __init__(self, compressor: str | Mapping[str, Any] | UpdateCompressor) -> None:
        self.common = CommonModel(compressor)
        self.update: TrainedUpdate | None = None

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "compressor": repr(self.common.compressor)}

    def summary(self) -> str:
        return f"Training at the fog, updates by {self.common.compressor}"

    def prepare(self, fog_round: Round) -> None:
        self.update = None
        if (trained := self.train(fog_round)) is not None:
            self.adopt(trained)

    def train(self, fog_round: Round) -> TrainedUpdate | None:
        """The update of this round; None if there is nothing to train on, or training failed, which is noted."""
        progress = fog_round.progress
        try:
            captures = _usable(fog_round)
            if not captures:
                return None
            trained = train_update(
                self.common.chain.state,
                captures,
                fog_round.training,
                self.common.compressor,
                memory=deepcopy(self.common.feedback),
                seed=fog_round.number,
                device=fog_round.device,
                progress=None if progress is None else partial(progress, f"round {fog_round.number}: training"),
            )
        except RinrError as error:
            fog_round.memory.fail(fog_round.number, FOG, "error", f"the fog's training gives no update: {error}")
            return None
        self.common.update_bytes.append(len(trained.payload))
        log.info(
            "round %d: %d steps on %d frames, an update of %d bytes",
            fog_round.number,
            trained.steps,
            trained.frames,
            len(trained.payload),
        )
        return trained

    def adopt(self, trained: TrainedUpdate) -> None:
        """Go on to the model that an update makes."""
        self.update = trained
        self.common.feedback = trained.memory
        self.common.chain.advance(trained.payload)

    def train_content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        """The updates that the device lacks, with the request not to train."""
        fog_round.memory.note_sent(device, range(len(fog_round.memory.shared)))  # no device needs them now
        config = ConfigRecord({**content.config_records[CONFIG], TRAIN_HERE: False})
        return Outgoing(RecordDict({**content, **self.common.chain.content(device), CONFIG: config}))

    def trained(self, content: RecordDict) -> RecordDict:
        """The answer with the measurements of the fog's training, which the device has received the result of."""
        if self.update is None:
            return content
        numbers = MetricRecord(
            {
                NUM_EXAMPLES: self.update.frames,
                "steps": self.update.steps,
                "loss": self.update.loss,
                "render-seconds": self.update.seconds_rendering,
                "train-seconds": self.update.seconds_training,
            }
        )
        return RecordDict({**content, METRICS: numbers})

    def aggregated(
        self, fog_round: Round, arrays: ArrayRecord | None, metrics: MetricRecord | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return self.common.chain.arrays, metrics


def _usable(fog_round: Round) -> list[bytes]:
    """All captures so far but those with a class that the training does not name.

    Each of those is a failure of its device, in the first round that leaves it out.
    """
    memory = fog_round.memory
    known = {(failure.device, failure.reason) for failure in memory.failures}
    usable = []
    for item in memory.shared:
        data = item.upload.data
        try:
            check_classes(Payload.from_bytes(data), fog_round.training.class_names)
        except PayloadError as error:
            reason = f"clip {item.clip!r} of round {item.round} is not trained on: {error}; name it in train_config too"
            if (item.device, reason) not in known:
                memory.fail(fog_round.number, item.device, "malformed", reason)
            continue
        usable.append(data)
    return usable


class FogTraining(FogNode):
    """Devices upload what they capture; the fog trains on all of it and sends everyone what changed in the model.

    The setting of arXiv 2203.04516. A round reads: ask every device for its captures, train on all captures so far,
    compress the change, send each device the updates that it lacks, evaluate. Fog and devices hold the same weights
    after every round, and the next round's training starts from them.

    Parameters
    ----------
    compressor : what makes updates: a compressor, its name, or a mapping with ``name`` and options.
    upload : codec that the devices upload with, as for :class:`FogNode`; ``jpeg`` uploads the camera's own files.
    **options : as for :class:`FogNode`, without ``codec``, ``inner`` and ``policy``.
    """

    def __init__(
        self,
        compressor: str | Mapping[str, Any] | UpdateCompressor = "factorised",
        *,
        upload: str | Mapping[str, Any] | Codec = "jpeg",
        **options: Any,
    ) -> None:
        refuse(self, options, "codec", "inner", "policy")
        super().__init__(upload, upload=upload, policy=TrainingAtFog(compressor), **options)
