"""Ultralytics' own training, fed with rendered frames: ``YOLO(...).train(trainer=RinrTrainer, data="run/payloads")``.

Model, optimiser, validation, plots, checkpoints, moving average, mixed precision and resuming are ultralytics'; only
where the batches come from is ours. Unlike :class:`rinr_flower.detection.Yolo` it seeds the process's global
generators and writes a run folder, as ultralytics' users expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml

from rinr_flower.decoding import FrameStore
from rinr_flower.decoding.augment import Augmentation
from rinr_flower.detection.engine import torchvision_or_stand_in, ultralytics
from rinr_flower.detection.payload_folder import Split, split_of
from rinr_flower.detection.rendered_batches import RenderedBatches, RenderedFrames
from rinr_flower.errors import ConfigError

DetectionTrainer: Any = ultralytics("models.yolo.detect").DetectionTrainer
IN_MEMORY = "frames given in memory"
ABSENT = {"mixup": 0.0, "cutmix": 0.0, "copy_paste": 0.0, "bgr": 0.0, "fraction": 1.0, "rect": False, "quantize": None}


class RinrTrainer(DetectionTrainer):  # type: ignore[misc]
    """A ``DetectionTrainer`` whose ``data`` is payloads.

    ``data`` is a folder of payload files (``*.rinr``; with the folders ``train`` and ``val``, or else the last fifth of
    every payload's frames is held back for validation), a :class:`FrameStore`, or ``{"train": store, "val": store}``.
    To resume, give ``data`` again if it was given in memory.

    ``cache=True`` keeps decoded frames on the device. The augmentation settings are ultralytics'; those without an
    equivalent here (see ABSENT) are refused. One device only.
    """

    def __init__(
        self, cfg: Any = None, overrides: Mapping[str, Any] | None = None, _callbacks: dict[str, Any] | None = None
    ) -> None:
        settings = dict(overrides or {})
        self._given = settings.get("data")
        if not isinstance(self._given, str | Path | None):
            settings["data"] = IN_MEMORY
        self._split: Split
        self.epoch = 0
        super().__init__(ultralytics("utils").DEFAULT_CFG if cfg is None else cfg, settings, _callbacks)

    def train(self) -> Any:
        """Run the training."""
        if self.world_size > 1:
            raise ConfigError(f"device={self.args.device}: training from payloads runs on one device")
        with torchvision_or_stand_in():
            return super().train()

    def get_dataset(self) -> dict[str, Any]:
        """Check the payloads and describe them as ultralytics describes a data set."""
        for name, value in ABSENT.items():
            if getattr(self.args, name) != value:
                raise ConfigError(f"{name}={getattr(self.args, name)} is not available when training from payloads")
        if self.args.cache not in (False, True, "ram", None):
            raise ConfigError(
                f"cache={self.args.cache!r}: decoded frames are kept in memory, cache=True, or not at all"
            )
        source = self._source()
        self._split = split_of(source, device=self.device, cache=bool(self.args.cache))
        classes = self._split.train.class_names()
        unknown = set(self._split.val.class_names()) - set(classes)
        if unknown:
            raise ConfigError(f"validation frames have the class {min(unknown)!r}; the training frames know {classes}")
        names = dict(enumerate(["item"] if self.args.single_cls else classes))
        # what ultralytics reads again for the last validation, and what resuming finds the folder by
        folder = source if isinstance(source, Path) else self.save_dir
        description = {"path": str(folder.resolve()), "train": ".", "val": ".", "names": names}
        file = self.save_dir / "payloads.yaml"
        file.write_text(yaml.safe_dump(description, sort_keys=False))
        self.args.data = str(file)
        return {**description, "nc": len(names), "channels": 3, "yaml_file": str(file)}

    def _source(self) -> FrameStore | Mapping[str, FrameStore] | Path:
        if isinstance(self._given, FrameStore | Mapping):
            return self._given
        path = Path(str(self.args.data))
        if path.suffix in (".yaml", ".yml"):
            described = yaml.safe_load(path.read_text()) if path.is_file() else None
            if not isinstance(described, dict) or "path" not in described:
                raise ConfigError(f"data={path}: give a folder of payloads")
            path = Path(described["path"])
        return path

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> RenderedFrames:
        """The frames of the part that ``mode`` names."""
        augmentation = Augmentation.from_settings(vars(self.args)) if mode == "train" else None
        part = self._split.train if mode == "train" else self._split.val
        return RenderedFrames(part, list(self.data["names"].values()), augmentation)

    def get_dataloader(
        self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train"
    ) -> RenderedBatches:
        """Batches of the part that ``mode`` names."""
        return RenderedBatches(
            self.build_dataset(dataset_path, mode),
            batch_size,
            self.args.imgsz,
            seed=self.args.seed,
            epoch=lambda: self.epoch,
        )

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Move the batch to the device; pictures come as 0..1, at the drawn size."""
        return {key: v.to(self.device) if isinstance(v, torch.Tensor) else v for key, v in batch.items()}
