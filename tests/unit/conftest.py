"""Runs, limits and settings of Flower that several files of tests share."""

import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from rinr_flower.bandwidth import Entry, Ledger
from rinr_flower.bitstream.container import Payload
from rinr_flower.codecs import codecs, decode
from rinr_flower.frames import Clip, Frame, read_image, write_jpeg
from rinr_flower.quality import measure
from rinr_flower.report import (
    AccuracyRecord,
    DeviceRecord,
    ExampleRecord,
    FailureRecord,
    PayloadRecord,
    RivalRecord,
    RunRecord,
)

HOSTILE = '<script>alert("x")</script>'
DEVICES = ("camera-at-the-north-western-corner-of-the-old-harbour-basin-17", "south", HOSTILE)
SIZE = (96, 128)


def camera_clip(name, row, column):
    """Four frames of a camera that pans over a photograph, with a box, as JPEG files."""
    frames = []
    for i in range(4):
        window = data.astronaut()[row : row + SIZE[0], column + 3 * i : column + 3 * i + SIZE[1]]
        file = write_jpeg(np.ascontiguousarray(window), 90)
        image = read_image(file, name=name)
        frames.append(Frame(image, np.array([[40, 20, 80, 70]], np.float32), np.zeros(1, np.int64), file))
    return Clip(name, tuple(frames))


def wrapped(payloads):
    """Bytes of a real Flower message that carries the payloads."""
    from flwr.app import ConfigRecord
    from flwr.common.serde import config_record_to_proto

    return config_record_to_proto(ConfigRecord({"payloads": list(payloads)})).ByteSize()


@pytest.fixture
def limited():
    """1 GB of address space more than now."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def task_identity():
    """What Flower sets when it starts a ServerApp: tests that make messages need it."""
    from rinr_flower.simulations.task_identity import take_server_identity

    take_server_identity()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, task_identity):
    """Outcome of a run of three devices that nothing befell."""
    from kept_runs import Device, fog, go, outcome, wire_of

    from rinr_flower.simulations.run_folder import RunFolder

    strategy = fog(RunFolder.create(str(tmp_path_factory.mktemp("undisturbed") / "run")))
    go(strategy, wire_of([Device(i) for i in range(3)]))
    assert strategy.failures == []
    return outcome(strategy)


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory):
    """Folder of a run of three devices over WebP whose captures were encoded and whose messages were serialised."""
    folder = tmp_path_factory.mktemp("runs") / "real"
    clips = [camera_clip(f"clip {i}", 60 + 90 * i, 120) for i in range(3)]
    own, plain = codecs.create("webp", quality=30), codecs.create("jpeg")
    uploads, encoded = [plain.encode(c) for c in clips], [own.encode(c) for c in clips]
    payloads, rivals, ledger = [], [], Ledger()
    for device, clip, upload, payload in zip(DEVICES, clips, uploads, encoded, strict=True):
        quality = measure(clip, decode(payload))
        payloads.append(
            PayloadRecord(
                1, device, clip.name, "webp", len(clip), clip.width, clip.height, clip.file_bytes(), len(upload),
                len(payload), Payload.from_bytes(payload).bytes_by_part(), 0.1, quality.frame_db,
                quality.background_db, quality.object_db,
            )
        )  # fmt: skip
        rival = codecs.create("jpeg", quality=20).encode(clip)
        quality = measure(clip, decode(rival))
        rivals.append(
            RivalRecord(
                "jpeg q20", clip.name, device, 1, len(rival), quality.frame_db, quality.background_db, quality.object_db
            )
        )
        ledger.append_message(1, device, "fog", "upload", [(f"{device}/{clip.name}", len(upload))], wrapped([upload]))
    for to in DEVICES:
        others = [(f"{d}/{c.name}", p) for d, c, p in zip(DEVICES, clips, encoded, strict=True) if d != to]
        ledger.append_message(1, "fog", to, "payload", [(n, len(p)) for n, p in others], wrapped(p for _, p in others))
        ledger.append(Entry(1, "fog", to, "control", 0, 200))
    folder.mkdir()
    for name, clip in (("before.png", clips[0]), ("after.png", decode(encoded[0]))):
        Image.fromarray(clip.frames[1].image).save(folder / name)
    RunRecord(
        scenario={"codec": "webp", "seed": 0, "command": f"flower-simulation --out {HOSTILE}", "note": HOSTILE * 5},
        environment={"python": sys.version.split()[0]},
        devices=tuple(
            DeviceRecord(d, (c.name,), c.file_bytes(), len(c), 0) for d, c in zip(DEVICES, clips, strict=True)
        ),
        payloads=tuple(payloads),
        accuracy=tuple(AccuracyRecord(r, d, 0.0, 0.0) for r in (0, 1) for d in DEVICES),
        failures=(FailureRecord(1, DEVICES[2], "timeout", HOSTILE),),
        rivals=tuple(rivals),
        examples=(ExampleRecord("clip 0", 1, "before.png", "after.png", (40, 20, 80, 70)),),
        ledger=ledger,
    ).save(folder)
    return folder
