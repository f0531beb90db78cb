"""Edge training or fog training, whichever sends fewer bytes in this round."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, MetricRecord, RecordDict

from rinr_flower.bandwidth.model import fog_bytes, fog_training_bytes
from rinr_flower.codecs import Codec
from rinr_flower.messages.protocol import ARRAYS
from rinr_flower.report import DecisionRecord
from rinr_flower.report.record import from_json, to_json
from rinr_flower.strategies.common_model import CommonModel
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.fog_training import TrainingAtFog
from rinr_flower.strategies.options import refuse
from rinr_flower.strategies.payload_sharing import PayloadSharing
from rinr_flower.strategies.policy import Outgoing, Policy, Round
from rinr_flower.updates import UpdateCompressor

log = getLogger("flwr.rinr_flower")


class FewerBytes(Policy):
    """Chooses between two policies in every round: payloads, or an update of the fog's training.

    Parameters
    ----------
    edge, fog : the two.
    broadcast : one transmission reaches all devices.

    Attributes
    ----------
    decisions : one for every round in which there was something to decide.
    """

    common: CommonModel

    def __init__(self, edge: PayloadSharing, fog: TrainingAtFog, *, broadcast: bool) -> None:
        self.edge = edge
        self.fog = fog
        self.broadcast = broadcast
        self.common = fog.common
        self.decisions: list[DecisionRecord] = []

    def settings(self) -> dict[str, Any]:
        return {**self.fog.settings(), **super().settings(), "broadcast": self.broadcast}

    def summary(self) -> str:
        return f"{self.edge.summary()}, or {self.fog.summary()}: whichever sends fewer bytes"

    def prepare(self, fog_round: Round) -> None:
        """Train an update, and adopt it if it is smaller than this round's payloads, over all receivers."""
        self.fog.update = None
        if (trained := self.fog.train(fog_round)) is None:
            return
        decision = self._decide(fog_round, len(trained.payload))
        self.decisions.append(decision)
        log.info("round %d: %s: %s", fog_round.number, decision.choice, decision.reason)
        if decision.choice == "fog":
            self.fog.adopt(trained)

    def train_content(self, fog_round: Round, device: str, content: RecordDict) -> Outgoing:
        if self.fog.update is not None:
            return self.fog.train_content(fog_round, device, content)
        chain = self.common.chain
        model = {ARRAYS: ArrayRecord()} if chain.holds(device) else chain.content(device)
        return self.edge.train_content(fog_round, device, RecordDict({**content, **model}))

    def trained(self, content: RecordDict) -> RecordDict:
        return self.fog.trained(content)

    def aggregated(
        self, fog_round: Round, arrays: ArrayRecord | None, metrics: MetricRecord | None
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return self.fog.aggregated(fog_round, arrays, metrics)

    def state(self) -> dict[str, Any]:
        return {"decisions": to_json(self.decisions)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.decisions = [from_json(DecisionRecord, item) for item in state["decisions"]]

    def _decide(self, fog_round: Round, beta: int) -> DecisionRecord:
        new = [item for item in fog_round.memory.shared if item.round == fog_round.number]
        camera = [max(item.camera_bytes, 1) for item in new]
        up = [item.upload.size / size for item, size in zip(new, camera, strict=True)]
        alpha = [item.payload.size / size for item, size in zip(new, camera, strict=True)]
        receivers = [len(fog_round.devices - {item.device}) for item in new]
        devices = len(fog_round.devices)
        edge = fog_bytes(camera, receivers, alpha=alpha, u=up, broadcast=self.broadcast)
        fog = fog_training_bytes(camera, devices, beta=beta, u=up, broadcast=self.broadcast)
        choice = "fog" if fog.down < edge.down else "edge"
        payloads = sum(item.payload.size for item in new)
        reason = (
            f"alpha is {payloads / max(sum(camera), 1):.4f} ({payloads:,} of {sum(camera):,} bytes), so payloads come "
            f"to {edge.down:,.0f} bytes down; beta is {beta:,} bytes, so updates for {devices} devices come to "
            f"{fog.down:,.0f}: {'the fog trains' if choice == 'fog' else 'devices train at the edge'}"
        )
        return DecisionRecord(fog_round.number, choice, reason, round(edge.total), round(fog.total))


class EdgeOrFog(FogNode):
    """Each round either shares payloads, as :class:`FogNode`, or sends an update, as :class:`FogTraining`.

    The fog encodes the round's captures *and* trains an update, so that both alpha and beta are measured and not
    guessed, and sends what is smaller by the communication model (:mod:`rinr_flower.bandwidth.model`): payloads if
    ``sum alpha_i r_i D_i <= R beta``, else the update. That costs the fog's time and no byte on a link. In a round at
    the edge every device trains its own model; an update replaces that by the fog's, which is trained on all captures
    so far. Captures that an update was trained on are not sent to its receivers afterwards.

    Parameters
    ----------
    codec : what the fog encodes with: a codec, its name, or a mapping with ``name`` and options.
    compressor : what makes updates: a compressor, its name, or a mapping with ``name`` and options.
    broadcast : one transmission reaches all devices.
    **options : as for :class:`FogNode`, without ``inner`` and ``policy``.

    Attributes
    ----------
    decisions : one for every round in which there was something to decide.
    """

    policy: FewerBytes

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec = "scene",
        compressor: str | Mapping[str, Any] | UpdateCompressor = "factorised",
        *,
        broadcast: bool = False,
        **options: Any,
    ) -> None:
        refuse(self, options, "inner", "policy")
        policy = FewerBytes(PayloadSharing(), TrainingAtFog(compressor), broadcast=broadcast)
        super().__init__(codec, policy=policy, **options)

    @property
    def decisions(self) -> list[DecisionRecord]:
        return self.policy.decisions
