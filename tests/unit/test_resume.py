"""A fog node that is killed and taken up again, over real Flower messages that pass through their wire format."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM
from kept_runs import CODEC, ROUNDS, Device, fog, go, outcome, wire_of
from wire import Killed, Wire

from rinr_flower.bandwidth import Ledger
from rinr_flower.errors import ConfigError, DataError
from rinr_flower.frames import Clip
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import FogNode, JpegSharing
from rinr_flower.strategies.encoding import Encoded, encode_here

pytestmark = pytest.mark.usefixtures("task_identity")


class Counted:
    """The real encoder, and how many clips it has encoded; can be killed after some of them."""

    def __init__(self) -> None:
        self.clips = 0
        self.die_after = 10**9

    def __call__(self, codec: object, clips: Sequence[Clip], **options: object) -> Iterator[Encoded]:
        for found in encode_here(codec, clips, **options):  # type: ignore[arg-type]
            if self.clips == self.die_after:
                self.die_after = 10**9
                raise Killed
            self.clips += 1
            yield found


def killed(path: Path, devices: Sequence[Device], at: tuple[int, str], **options: object) -> Wire:
    """A run in ``path`` whose fog, with ``options``, is killed after the answers to a round's messages of one type."""
    wire = wire_of(devices)
    wire.die_after = at
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path)), **options), wire)
    return wire


@pytest.mark.parametrize("number", range(1, ROUNDS + 1))
@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_happened(
    tmp_path: Path, undisturbed: object, number: int, kind: str
) -> None:
    path = tmp_path / "run"
    devices, encoder = [Device(i) for i in range(3)], Counted()
    killed(path, devices, (number, kind), encoder=encoder)
    again = wire_of(devices, first_node=70)  # nodes have other ids now
    strategy = fog(RunFolder(path), encoder=encoder)
    go(strategy, again)
    assert outcome(strategy) == undisturbed
    assert encoder.clips == 3 * ROUNDS, "nothing is encoded twice"
    assert Ledger.read(path / "ledger.csv").entries == strategy.ledger.entries
    for device in devices:
        batches = [len(batch) for batch in device.received.values()]
        assert batches == [2] * ROUNDS, "every payload once"


def test_what_was_encoded_before_the_kill_is_not_encoded_again(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices, encoder = [Device(i) for i in range(3)], Counted()
    encoder.die_after = 4  # in the middle of round 2
    with pytest.raises(Killed):
        go(fog(RunFolder.create(str(path)), encoder=encoder), wire_of(devices))
    index = path / "encoded.jsonl"
    index.write_bytes(index.read_bytes() + b'{"key": "torn')
    strategy = fog(RunFolder(path), encoder=encoder)
    go(strategy, wire_of(devices))
    assert encoder.clips == 9
    assert outcome(strategy) == undisturbed
    assert len(RunFolder(path)._encoded) == 9


def test_files_that_a_kill_left_half_written_are_deleted(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    killed(path, devices, (2, "train"))
    payload = next((path / "payloads").iterdir())
    half = [payload.with_name(f"{payload.name}.0badcafe.part"), path / "rounds" / "002.json.0badcafe.part"]
    for file in half:
        file.write_bytes(payload.read_bytes()[:9])
    strategy = fog(RunFolder(path))
    go(strategy, wire_of(devices))
    assert outcome(strategy) == undisturbed
    assert not any(file.exists() for file in half)
    assert payload.exists()


def test_bytes_that_were_sent_twice_stay_in_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    wire = killed(path, devices, (2, "evaluate"))
    again = wire_of(devices)
    strategy = fog(RunFolder(path))
    go(strategy, again)
    sent = wire.bytes + again.bytes
    repeated = [e for e in strategy.ledger if e.kind == "repeated"]
    assert {e.round for e in repeated} == {2}
    assert {e.content.split()[0] for e in repeated} == {"upload", "payload", "control"}
    # answers to the exchange that was cut off are all that no one could enter
    assert 0.97 < strategy.ledger.message_bytes / sent < 1.0


def test_a_finished_run_is_read_again_and_nothing_is_asked(tmp_path: Path, undisturbed: object) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    go(fog(folder), wire_of([Device(i) for i in range(3)]))
    assert folder.whole_rounds() == ROUNDS
    strategy = fog(RunFolder(folder.path))
    assert strategy.recall() == ROUNDS
    assert outcome(strategy) == undisturbed


@pytest.mark.parametrize("make", [FedAvg, FedAdam, FedAvgM], ids=lambda make: make.__name__)
def test_the_inner_strategys_model_and_moments_come_back(tmp_path: Path, make: type) -> None:
    options = {"server_momentum": 0.5} if make is FedAvgM else {}
    expected = go(
        fog(RunFolder.create(str(tmp_path / "whole")), inner=make(**options)), wire_of([Device(i) for i in range(2)])
    )
    devices, path = [Device(i) for i in range(2)], tmp_path / "run"
    killed(path, devices, (3, "query"), inner=make(**options))
    assert np.array_equal(go(fog(RunFolder(path), inner=make(**options)), wire_of(devices)), expected)
    assert len(list((path / "arrays").iterdir())) <= 3, "models of old rounds are let go"


def test_a_resumed_run_draws_the_devices_that_the_unbroken_one_draws(tmp_path: Path) -> None:
    def options(seed: int = 7) -> dict[str, object]:
        return {"inner": FedAvg(fraction_train=0.4, fraction_evaluate=0.4), "seed": seed}

    def drawn(strategy: FogNode) -> list[list[tuple[int, str]]]:
        return [[(row.round, row.device) for row in rows] for rows in (strategy.trained, strategy.evaluated)]

    random.seed(1)
    state = random.getstate()
    whole, other = (fog(RunFolder.create(str(tmp_path / str(seed))), **options(seed)) for seed in (7, 8))
    for strategy in (whole, other):
        go(strategy, wire_of([Device(i) for i in range(9)]))
    assert random.getstate() == state, "what else draws from it goes on as before"
    assert drawn(whole) != drawn(other)
    path, devices = tmp_path / "run", [Device(i) for i in range(9)]
    random.seed(2)
    killed(path, devices, (2, "train"), **options())
    strategy = fog(RunFolder(path), **options())
    go(strategy, Wire({99 - device.number: device.app for device in devices}))  # other ids, in another order
    assert drawn(strategy) == drawn(whole)
    assert len(strategy.trained) == 3 * ROUNDS
    assert len({row.device for row in strategy.trained}) > 3, "others in another round"


def test_a_damaged_round_is_done_again(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    go(fog(RunFolder.create(str(path))), wire_of(devices))
    broken = path / "rounds" / "002.json"
    broken.write_bytes(broken.read_bytes().replace(b"street", b"straat"))
    strategy = fog(RunFolder(path))
    assert strategy.recall() == 1
    assert not (path / "rounds" / "003.json").exists()
    go(strategy, wire_of(devices))
    assert outcome(strategy) == undisturbed


@pytest.mark.parametrize(
    ("damaged", "named"),
    [
        ("rounds/000.json", "rounds/000.json is torn or altered"),
        ("-rounds/000.json", "rounds/000.json cannot be read"),
        ("arrays/*", "arrays/[0-9a-f]* is torn or altered"),  # the rounds share them: the model is the first one
    ],
)
def test_damage_never_begins_a_run_again(tmp_path: Path, damaged: str, named: str) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    go(fog(RunFolder.create(str(path))), wire_of(devices))
    for file in path.glob(damaged.removeprefix("-")):
        if damaged.startswith("-"):
            file.unlink()
        else:
            file.write_bytes(file.read_bytes()[:-1])
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    with pytest.raises(DataError, match=f"after round {ROUNDS}: .*{named}.*; put that file back from a copy, or begin"):
        fog(RunFolder(path)).recall()
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before


def test_damage_in_the_middle_does_not_begin_a_run_again(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    for number in range(5):
        folder.save_round(number, {}, {"w": np.full(3, number)})
    (folder.path / "rounds" / "002.json").write_bytes(b"")
    with pytest.raises(DataError, match=r"after round 4: .*002\.json is torn or altered"):
        RunFolder(folder.path).load()
    assert RunFolder(folder.path).whole_rounds() == 4


def test_a_damaged_first_round_alone_is_done_again(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    for number in range(2):
        folder.save_round(number, {}, {"w": np.full(3, number)})
    (folder.path / "rounds" / "001.json").write_bytes(b"")
    found = RunFolder(folder.path).load()
    assert found is not None
    assert len(found.rounds) == 1


@pytest.mark.parametrize(
    "change", [{"codec": "jpeg"}, {"seed": 3}, {"inner": FedAvg()}, {"upload": {"name": "jpeg", "quality": 9}}]
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    go(fog(folder), wire_of([Device(i) for i in range(2)]), rounds=1)
    options = {"codec": CODEC, **change}
    strategy = FogNode(options.pop("codec"), keep=RunFolder(folder.path), **options)
    with pytest.raises(ConfigError, match=f"begun with {next(iter(change))}"):
        strategy.recall()


@pytest.mark.parametrize("relay", [False, True])
def test_serverless_and_relayed_sharing_do_not_resume_each_other(tmp_path: Path, relay: bool) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    go(JpegSharing(relay=relay, keep=folder), wire_of([Device(i) for i in range(2)]), rounds=1)
    with pytest.raises(ConfigError, match=f"begun with relay {relay}, not {not relay}"):
        JpegSharing(relay=not relay, keep=RunFolder(folder.path)).recall()
    assert JpegSharing(relay=relay, keep=RunFolder(folder.path)).recall() == 1


def test_a_disk_that_is_full_is_named_and_what_was_kept_stays(tmp_path: Path, undisturbed: object) -> None:
    path = tmp_path / "run"
    devices = [Device(i) for i in range(3)]
    go(fog(RunFolder.create(str(path))), wire_of(devices), rounds=1)
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))  # files cannot grow beyond this, as on a full disk
    try:
        with pytest.raises(DataError, match="free space there"):
            go(fog(RunFolder(path)), wire_of(devices), rounds=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    after = {p: p.read_bytes() for p in path.rglob("*") if p.is_file() and p.name != "ledger.csv"}
    assert {p: data for p, data in after.items() if p in before} == {
        p: data for p, data in before.items() if p.name != "ledger.csv"
    }
    strategy = fog(RunFolder(path))
    go(strategy, wire_of(devices))
    assert outcome(strategy) == undisturbed


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        RunFolder.create(str(tmp_path / "file" / "run"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"job\.json"):
        RunFolder(tmp_path / "empty")


def test_a_folder_can_be_named_by_a_text(tmp_path: Path) -> None:
    made = RunFolder.create(str(tmp_path / "run"))
    assert RunFolder(str(tmp_path / "run")).job == made.job
