"""Training at the fog: captures go up, compressed model updates come down."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from rinr_flower.bandwidth import FOG
from rinr_flower.errors import RinrError
from rinr_flower.messages.protocol import CONFIG, NUM_EXAMPLES, TRAIN_HERE, Capture
from rinr_flower.messages.training import Training
from rinr_flower.report import FailureRecord
from rinr_flower.strategies.metering import Clip
from rinr_flower.strategies.update_sharing import UpdateSharing
from rinr_flower.strategies.update_training import TrainedUpdate, train_update
from rinr_flower.updates import Memory, UpdateCompressor

log = getLogger("flwr.rinr_flower")


class FogTraining(UpdateSharing):
    """Devices upload what they capture; the fog trains on all of it and sends everyone what changed in the model.

    The setting of arXiv 2203.04516. A round reads: ask every device for its captures, train on all captures so far,
    compress the change, send each device the updates that it lacks, evaluate. Fog and devices hold the same weights
    after every round, and the next round's training starts from them.

    Parameters
    ----------
    compressor : what makes updates: a compressor, its name, or a mapping with ``name`` and options.
    upload : codec that the devices upload with, as name or mapping; ``jpeg`` uploads the camera's own files.
    **options : as for :class:`FogNode`, without ``codec`` and ``inner``.
    """

    def __init__(
        self,
        compressor: str | Mapping[str, Any] | UpdateCompressor = "factorised",
        *,
        upload: str | Mapping[str, Any] = "jpeg",
        **options: Any,
    ) -> None:
        super().__init__(compressor, upload, upload=upload, **options)
        self._training = Training()
        self._update: TrainedUpdate | None = None  # what this round's message to the devices rests on

    def summary(self) -> None:
        log.info("\t├──> Training at the fog on captures uploaded as %s", self.upload)
        log.info("\t├──> Updates: %s", self.compressor)
        log.info("\t├──> At least %d devices in a round", self.min_devices)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Collect captures, train, and send every device what it lacks of the model."""
        self._training = Training.of_config(config)
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The fog's model, and its training's numbers in the name of every device that has received the result."""
        known = len(self.trained)
        _, metrics = super().aggregate_train(server_round, replies)
        if self._update is not None:
            numbers: dict[str, int | float | list[int] | list[float]] = {
                NUM_EXAMPLES: self._update.frames,
                "steps": self._update.steps,
                "loss": self._update.loss,
                "render-seconds": self._update.seconds_rendering,
                "train-seconds": self._update.seconds_training,
            }
            self.trained[known:] = [replace(row, metrics=numbers) for row in self.trained[known:]]
            metrics = MetricRecord(numbers) if metrics is not None else None
        return self.chain.arrays, metrics

    def _encode(self, server_round: int, captures: list[Capture]) -> None:
        """Take in the captures, train on all so far, and go on to the model that the update makes."""
        super()._encode(server_round, captures)
        self._update = None
        if not self.shared or len(self._attending) < self.min_devices:
            return
        memory = deepcopy(self._memory)
        trained = self._trained(server_round, memory)
        if trained is not None and self._sends(server_round, trained):
            self._update, self._memory = trained, memory
            self.chain.advance(trained.payload)

    def _trained(self, server_round: int, memory: Memory) -> TrainedUpdate | None:
        """The round's update; None if training failed, which is noted and leaves the model as it is."""
        try:
            trained = train_update(
                self.chain.state,
                [item.upload.data for item in self.shared],
                self._training,
                self.compressor,
                memory=memory,
                seed=server_round,
                device=self.device,
                progress=None if self.progress is None else partial(self.progress, f"round {server_round}: training"),
            )
        except RinrError as error:
            log.warning("round %d: the fog's training gives no update: %s", server_round, error)
            self.failures.append(FailureRecord(server_round, FOG, "error", str(error)))
            return None
        self.update_bytes.append(len(trained.payload))
        log.info(
            "round %d: %d steps on %d frames, an update of %d bytes",
            server_round,
            trained.steps,
            trained.frames,
            len(trained.payload),
        )
        return trained

    def _sends(self, server_round: int, trained: TrainedUpdate) -> bool:
        """Whether this round sends updates: always."""
        return True

    def _training_content(self, server_round: int, device: str, content: RecordDict) -> tuple[RecordDict, list[Clip]]:
        """The updates that the receiver lacks, with the request not to train."""
        config = ConfigRecord({**content.config_records[CONFIG], TRAIN_HERE: False})
        self.memory.send(device, range(len(self.shared)))  # the update was trained on all of them
        return RecordDict({**content, **self.chain.content(device), CONFIG: config}), []
