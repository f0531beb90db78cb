"""One round with many devices: the memory of the fog node, and what the messages take.

Devices are of somebody else's: each uploads one clip and trains nothing. They answer in this process at the moment in
which their answer is taken, so that what is measured is the fog's own memory. Upload codec and fog codec are JPEG, so
that encoding takes no time worth naming.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from rinr_flower.codecs import codecs
from rinr_flower.frames import Clip, Frame, write_jpeg
from rinr_flower.messages.protocol import Capture, captures_content
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import FogNode
from rinr_flower.strategies.encoding import encode_here
from rinr_flower.strategies.grids import GridAround

COUNTS = (250, 500, 1000)
FRAMES = 4
SIZE = (192, 320)  # height, width
QUALITY = {"name": "jpeg", "quality": 8}


class AnsweringGrid(GridAround):
    """Nodes that answer when their answer is taken. Of a TRAIN message they keep its type alone."""

    def __init__(self, count: int) -> None:
        self._waiting: dict[str, Message] = {}
        self._count = count
        self.messages = 0

    def get_node_ids(self) -> Iterable[int]:
        return range(1, self._count + 1)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        numbers = []
        for message in messages:
            self.messages += 1
            number = f"message {self.messages}"
            message.metadata.__dict__["_message_id"] = number
            asked = Message(RecordDict(), message.metadata.dst_node_id, message.metadata.message_type)
            asked.metadata.__dict__["_message_id"] = number
            self._waiting[number] = asked
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._answer(self._waiting.pop(number)) for number in message_ids if number in self._waiting]

    def _answer(self, message: Message) -> Message:
        node = message.metadata.dst_node_id
        if message.metadata.message_type == MessageType.QUERY:
            return Message(captures_content(f"device-{node:04d}", [_capture(node)]), reply_to=message)
        metrics = MetricRecord({"num-examples": FRAMES, "map50": 0.5})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _capture(node: int) -> Capture:
    """A smooth picture and noise on it, another one for every node."""
    random = np.random.default_rng(node)
    base = np.kron(random.integers(0, 255, (6, 10, 3)), np.ones((32, 32, 1)))
    frames = []
    for _ in range(FRAMES):
        image = np.clip(base + random.normal(0, 12, base.shape), 0, 255).astype(np.uint8)
        box = np.array([[40, 40, 120, 100]], np.float32)
        frames.append(Frame(image, box, np.zeros(1, np.int64), write_jpeg(image, 90)))
    clip = Clip("road", tuple(frames), ("car",))
    return Capture(f"device-{node:04d}", "road", clip.file_bytes(), codecs.create("jpeg").encode(clip))


def run(folder: Path, count: int) -> dict[str, Any]:
    """One round of ``count`` devices in this process."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = 1, 1, 1
    process, start = psutil.Process(), time.monotonic()
    strategy = FogNode(QUALITY, keep=RunFolder.create(str(folder)), encoder=encode_here)
    before = process.memory_info().rss
    grid = AnsweringGrid(count)
    model = ArrayRecord({"weights": Array(np.zeros(1000, np.float32))})
    strategy.start(grid, model, 1, timeout=3600)
    assert strategy.failures == []
    rows = {row.kind: row for row in strategy.memory.stored}
    uploads = sum(item.upload.size for item in strategy.shared)
    return {
        "devices": count,
        "seconds": round(time.monotonic() - start, 1),
        "memory_before_mib": before / 2**20,
        "peak_growth_mib": (_peak() - before) / 2**20,
        "uploaded_bytes": uploads,
        "payload_bytes": sum(item.payload.size for item in strategy.shared),
        "sent_to_train_bytes": rows["train"].sent_bytes,
        "stored_at_the_superlink_bytes": rows["train"].stored_bytes,
        "ledger_rows": len(strategy.ledger),
        "ledger_bytes": (folder / "ledger.csv").stat().st_size,
    }


def _peak() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def measure(work: Path, counts: Iterable[int] = COUNTS) -> dict[str, Any]:
    """Each number of devices in a process of its own."""
    rows = []
    for count in counts:
        code = (
            "import json, sys; from pathlib import Path; from lib.reliability_many import run; "
            f"print(json.dumps(run(Path({str(work / str(count))!r}), {count})))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return {"frames": FRAMES, "size_px": list(SIZE), "rows": rows}
