"""The frames of this app's devices, and how they train."""

from pathlib import Path
from tempfile import gettempdir

from flwr.app import Context, UserConfig

from rinr_flower.clients import DeviceFolder, EdgeDevice, Training
from rinr_flower.datasets import deal, load


def training_of(config: UserConfig) -> Training:
    """The training settings of the run's configuration; class names are those of the captures."""
    return Training(
        detector=str(config["detector"]),
        learning_rate=float(config["learning-rate"]),
        steps=int(config["local-steps"]),
        batch=int(config["batch-size"]),
        image_size=int(config["image-size"]),
    )


def open_device(context: Context) -> EdgeDevice:
    """The device that a simulated node plays: a share of the data, written to its folder in the run's first message."""
    number, count = int(context.node_config["partition-id"]), int(context.node_config["num-partitions"])
    folder = Path(gettempdir()) / "rinr-quickstart" / str(context.run_id) / f"{number:03d}"
    if not (folder / "device.json").exists():
        config = context.run_config
        per_round, rounds = int(config["frames-per-round"]), int(config["num-server-rounds"])
        data = str(config["data"])
        clips = load(f"{data},sequences={count}" if data.partition(":")[0] == "sample" else data)
        share = deal(clips, count, frames_per_clip=per_round, holdout=per_round, rounds=rounds)[number]
        DeviceFolder.write(folder, share.name, share.captures, share.held_back)
    return EdgeDevice(DeviceFolder(folder))
