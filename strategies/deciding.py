"""Edge training or fog training, whichever sends fewer bytes in this round."""

from __future__ import annotations

from collections.abc import Mapping
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, RecordDict

from rinr_flower.bandwidth.model import fog_bytes, fog_training_bytes
from rinr_flower.codecs import Codec, codecs
from rinr_flower.messages.protocol import ARRAYS
from rinr_flower.report import DecisionRecord
from rinr_flower.report.record import from_json, to_json
from rinr_flower.strategies.fog_node import FogNode
from rinr_flower.strategies.fog_training import FogTraining
from rinr_flower.strategies.keeping import Arrays
from rinr_flower.strategies.metering import Clip
from rinr_flower.strategies.update_training import TrainedUpdate
from rinr_flower.updates import UpdateCompressor

log = getLogger("flwr.rinr_flower")


class EdgeOrFog(FogTraining):
    """Each round either shares payloads, as :class:`FogNode`, or sends an update, as :class:`FogTraining`.

    The fog encodes the round's captures *and* trains an update, so that both alpha and beta are measured and not
    guessed, and sends what is smaller by the communication model (:mod:`rinr_flower.bandwidth.model`): payloads if
    ``sum alpha_i r_i D_i <= R beta``, else the update. That costs the fog's time and no byte on a link. In a round at
    the edge every device trains its own model; an update replaces that by the fog's, which is trained on all captures
    so far. Captures that an update was trained on are not sent to its receivers afterwards.

    Parameters
    ----------
    codec : what the fog encodes with: a codec, its name, or a mapping with ``name`` and options.
    compressor, upload, **options : as for :class:`FogTraining`.
    broadcast : one transmission reaches all devices.

    Attributes
    ----------
    decisions : one for every round in which there was something to decide.
    """

    def __init__(
        self,
        codec: str | Mapping[str, Any] | Codec = "scene",
        compressor: str | Mapping[str, Any] | UpdateCompressor = "factorised",
        *,
        broadcast: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(compressor, **options)
        self.codec = codec if isinstance(codec, Codec) else codecs.create(codec)
        self._passes_on = self.upload is not None and self.codec == codecs.create(self.upload)
        self.broadcast = broadcast
        self.decisions: list[DecisionRecord] = []

    def summary(self) -> None:
        log.info("\t├──> Sharing %s, or training at the fog with %s", self.codec, self.compressor)
        log.info("\t├──> Captures uploaded as %s, at least %d devices in a round", self.upload, self.min_devices)

    def _sends(self, server_round: int, trained: TrainedUpdate) -> bool:
        """Whether the update is smaller than this round's payloads, over all receivers."""
        decision = self._decide(server_round, len(trained.payload))
        self.decisions.append(decision)
        log.info("round %d: %s: %s", server_round, decision.choice, decision.reason)
        return decision.choice == "fog"

    def _decide(self, server_round: int, beta: int) -> DecisionRecord:
        new = [item for item in self.shared if item.round == server_round]
        camera = [max(item.camera_bytes, 1) for item in new]
        up = [item.upload.size / size for item, size in zip(new, camera, strict=True)]
        alpha = [item.payload.size / size for item, size in zip(new, camera, strict=True)]
        names = {self.exchange.name(node) for node in self._attending}
        receivers = [len(names - {item.device}) for item in new]
        devices = len(names)
        edge = fog_bytes(camera, receivers, alpha=alpha, u=up, broadcast=self.broadcast)
        fog = fog_training_bytes(camera, devices, beta=beta, u=up, broadcast=self.broadcast)
        choice = "fog" if fog.down < edge.down else "edge"
        payloads = sum(item.payload.size for item in new)
        reason = (
            f"alpha is {payloads / max(sum(camera), 1):.4f} ({payloads:,} of {sum(camera):,} bytes), so payloads come "
            f"to {edge.down:,.0f} bytes down; beta is {beta:,} bytes, so updates for {devices} devices come to "
            f"{fog.down:,.0f}: {'the fog trains' if choice == 'fog' else 'devices train at the edge'}"
        )
        return DecisionRecord(server_round, choice, reason, round(edge.total), round(fog.total))

    def _training_content(self, server_round: int, device: str, content: RecordDict) -> tuple[RecordDict, list[Clip]]:
        if self._update is not None:
            return super()._training_content(server_round, device, content)
        model = {ARRAYS: ArrayRecord()} if self.chain.holds(device) else self.chain.content(device)
        return FogNode._training_content(self, server_round, device, RecordDict({**content, **model}))

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "decisions": to_json(self.decisions)}

    def _take_up(self, states: list[Mapping[str, Any]], arrays: Arrays) -> None:
        super()._take_up(states, arrays)
        self.decisions = [from_json(DecisionRecord, item) for item in states[-1]["decisions"]]
