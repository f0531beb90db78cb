"""Flower's own strategies inside a fog node and around it: what docs/strategies.md says of each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import flwr.serverapp.strategy as flower
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.exception import AggregationError
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAdagrad,
    FedAdam,
    FedAvg,
    FedAvgM,
    FedMedian,
    FedProx,
    FedTrimmedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    FedYogi,
    Krum,
    MultiKrum,
    QFedAvg,
    Result,
    Strategy,
)
from tiny_detector import cameras
from wire import Killed, Wire

from rinr_flower.decoding import FrameStore
from rinr_flower.detection import Detector, TrainingLog
from rinr_flower.errors import ConfigError
from rinr_flower.messages.training import Training
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.strategies import CompressedFedAvg, CompressedUpdates, EdgeOrFog, FogNode, FogTraining, JpegSharing
from rinr_flower.strategies.encoding import encode_here
from rinr_flower.strategies.inner import arrays_in, needs_model, put_arrays

pytestmark = pytest.mark.usefixtures("task_identity")

PAGE = Path(__file__).parents[2] / "docs" / "strategies.md"
DEVICES = 5
Wrap = Callable[[Strategy], Strategy]

AVERAGING: dict[str, Callable[[], Strategy]] = {
    "FedAvg": FedAvg,
    "FedProx": partial(FedProx, proximal_mu=0.5),
    "FedAvgM": partial(FedAvgM, server_momentum=0.5),
    "FedAdam": FedAdam,
    "FedAdagrad": FedAdagrad,
    "FedYogi": FedYogi,
    "FedMedian": FedMedian,
    "FedTrimmedAvg": FedTrimmedAvg,
    "Krum": Krum,
    "MultiKrum": partial(MultiKrum, num_malicious_nodes=1, num_nodes_to_select=2),
    "Bulyan": partial(Bulyan, num_malicious_nodes=0),
    "QFedAvg": partial(QFedAvg, client_learning_rate=0.1),
}
FIXED = "DifferentialPrivacyServerSideFixedClipping"
PRIVATE: dict[str, tuple[Wrap, list[object]]] = {
    FIXED: (
        partial(
            DifferentialPrivacyServerSideFixedClipping,
            noise_multiplier=0.0,
            clipping_norm=0.5,
            num_sampled_clients=DEVICES,
        ),
        [],
    ),
    "DifferentialPrivacyClientSideFixedClipping": (
        partial(
            DifferentialPrivacyClientSideFixedClipping,
            noise_multiplier=0.0,
            clipping_norm=0.5,
            num_sampled_clients=DEVICES,
        ),
        [fixedclipping_mod],
    ),
    "DifferentialPrivacyServerSideAdaptiveClipping": (
        partial(
            DifferentialPrivacyServerSideAdaptiveClipping,
            noise_multiplier=0.0,
            num_sampled_clients=DEVICES,
            clipped_count_stddev=0.0,
        ),
        [],
    ),
    "DifferentialPrivacyClientSideAdaptiveClipping": (
        partial(
            DifferentialPrivacyClientSideAdaptiveClipping,
            noise_multiplier=0.0,
            num_sampled_clients=DEVICES,
            clipped_count_stddev=0.0,
        ),
        [adaptiveclipping_mod],
    ),
}
REFUSED = {"FedXgbBagging": FedXgbBagging, "FedXgbCyclic": FedXgbCyclic}


def run(strategy: Strategy, wire: Wire, rounds: int = 2) -> Result:
    return strategy.start(wire, ArrayRecord({"numbers": Array(np.ones(3, np.float32))}), rounds, timeout=0.5)


def numbers(result: Result) -> np.ndarray:
    return result.arrays["numbers"].numpy()


def private(name: str, inner: Strategy) -> Strategy:
    return PRIVATE[name][0](inner)


def test_every_strategy_of_flower_is_in_the_table() -> None:
    named = set(AVERAGING) | set(PRIVATE) | set(REFUSED)
    assert named == set(flower.__all__) - {"Result", "Strategy"}
    rows = set(re.findall(r"^\| `(\w+)` \| (?:works|refused)", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert rows == named


@pytest.mark.parametrize("name", AVERAGING)
def test_inside_a_fog_node_a_strategy_gives_what_it_gives_alone(name: str, tmp_path: Path) -> None:
    alone = run(AVERAGING[name](), cameras(tmp_path / "alone", DEVICES))
    fog = FogNode("jpeg", upload=None, inner=AVERAGING[name]())
    inside = run(fog, cameras(tmp_path / "inside", DEVICES))
    assert fog.failures == []
    assert np.allclose(numbers(inside), numbers(alone), rtol=1e-6)
    assert not np.allclose(numbers(inside), 1)
    for name in ("train_metrics_clientapp", "evaluate_metrics_clientapp"):
        found, expected = getattr(inside, name), getattr(alone, name)
        assert list(found) == [1, 2]
        assert all(dict(found[i]) == pytest.approx(dict(expected[i])) for i in (1, 2))


@pytest.mark.parametrize("where", ["inside", "around"])
@pytest.mark.parametrize("name", PRIVATE)
def test_a_privacy_strategy_gives_what_it_gives_without_a_fog_node(name: str, where: str, tmp_path: Path) -> None:
    mods = PRIVATE[name][1]
    alone = run(private(name, FedAvg()), cameras(tmp_path / "alone", DEVICES, mods=mods))
    averaged = run(FedAvg(), cameras(tmp_path / "plain", DEVICES))
    if where == "inside":
        fog = FogNode("jpeg", upload=None, inner=private(name, FedAvg()))
        strategy: Strategy = fog
    else:
        fog = FogNode("jpeg", upload=None, inner=FedAvg(), timeout=0.5)
        strategy = private(name, fog)
    found = run(strategy, cameras(tmp_path / "fog", DEVICES, mods=mods))
    assert fog.failures == []
    assert np.allclose(numbers(found), numbers(alone), rtol=1e-5)
    assert not np.allclose(numbers(found), numbers(averaged)), "the updates were clipped"


@pytest.mark.parametrize("name", REFUSED)
def test_strategies_for_trees_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} aggregates boosted trees"):
        FogNode("jpeg", inner=REFUSED[name]())


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (lambda: FedAvg(arrayrecord_key="model"), "arrayrecord_key='model'.*called 'arrays'"),
        (
            lambda: private(FIXED, FedAvg(configrecord_key="c")),
            "configrecord_key",
        ),
        (lambda: FogNode("jpeg"), "cannot stand inside another"),
        (lambda: FedAvg, r"the inner strategy is <class .*give an object of a Strategy, for example FedAvg\(\)"),
        (lambda: Around(FedXgbCyclic()), "aggregates boosted trees"),
        (lambda: CompressedUpdates(FedAvg()), r"sends updates .* CompressedFedAvg\(inner=FedAvg\(\)\)"),
        (lambda: CompressedUpdates(Around(CompressedUpdates(FedAvg()))), "CompressedUpdates sends updates"),
    ],
)
def test_what_would_fail_on_every_device_is_refused_at_once(inner: Callable[[], Strategy], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        FogNode("jpeg", inner=inner())


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FogTraining("stc", inner=FedAvg()), "FogTraining takes no option inner: CompressedFedAvg averages"),
        (lambda: EdgeOrFog("jpeg", "stc", inner=FedAvg()), "EdgeOrFog takes no option inner"),
        (lambda: FogTraining("stc", codec="jpeg"), "FogTraining takes no option codec"),
        (lambda: JpegSharing(codec="webp"), "JpegSharing takes no option codec: it sets that itself, FogNode takes it"),
        (lambda: CompressedFedAvg(upload="jpeg"), "CompressedFedAvg takes no option upload"),
    ],
)
def test_an_option_that_a_strategy_sets_itself_is_refused(make: Callable[[], Strategy], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


@pytest.mark.parametrize(
    "make", [FedAdam, AVERAGING["QFedAvg"], AVERAGING["FedAvgM"], lambda: private(FIXED, FedAvg())]
)
def test_a_strategy_that_computes_with_the_model_is_not_begun_without_one(make: Callable[[], Strategy]) -> None:
    wire = Wire({})
    with pytest.raises(ConfigError, match=r"initial_arrays are empty, and \w+ computes with the model .*'class-names'"):
        FogNode("jpeg", inner=make()).start(wire, ArrayRecord(), 1, 1)
    assert needs_model(FedAvgM()) == needs_model(Around(FedAvg())) == ""


def test_the_fog_begins_with_first_weights_where_the_classes_are_named(tmp_path: Path) -> None:
    def train(detector: Detector, store: FrameStore, training: Training, server_round: int) -> TrainingLog:
        return detector.fit(store, [0], steps=1, batch=1, size=64)

    config = ConfigRecord(Training(class_names=("cup",), image_size=64).to_config())
    fog = FogNode("jpeg", inner=FedAdam(), encoder=encode_here)
    result = fog.start(cameras(tmp_path, 2, detector=None, train=train), ArrayRecord(), 1, 5, config, config)
    assert fog.failures == []
    assert fog.start_model is not None
    assert set(result.arrays) == set(fog.start_model.arrays) == set(Training().build().state())


def test_shared_frames_are_trained_on_under_a_strategy_around_the_fog_node(tmp_path: Path) -> None:
    wire = cameras(tmp_path, 3)
    fog = FogNode("jpeg", inner=FedAvg(), timeout=0.5, encoder=encode_here)
    result = run(private(FIXED, fog), wire)
    assert fog.failures == []
    assert [row.metrics["num-examples"] for row in fog.trained] == [2 * 7 * n for n in (1, 1, 1, 2, 2, 2)]
    assert sorted(result.train_metrics_clientapp) == [1, 2]
    kinds = fog.ledger.by_kind()
    assert fog.start_model is not None
    assert fog.start_model.coded is not None
    assert kinds["start_model"][0] == 3 * len(fog.start_model.coded)
    assert abs(fog.ledger.message_bytes - wire.bytes) / wire.bytes < 0.02


@pytest.mark.parametrize("number", [2, 3])
def test_a_wrapped_run_that_was_killed_goes_on_as_if_nothing_had_happened(tmp_path: Path, number: int) -> None:
    def wrapped(folder: RunFolder) -> tuple[FogNode, Strategy]:
        fog = FogNode("jpeg", inner=FedAvg(), keep=folder, timeout=0.5, encoder=encode_here)
        return fog, private(FIXED, fog)

    _, strategy = wrapped(RunFolder.create(str(tmp_path / "whole")))
    expected = run(strategy, cameras(tmp_path / "a", 3), rounds=3)
    wire = cameras(tmp_path / "b", 3)
    wire.die_after = (number, MessageType.TRAIN)
    folder = RunFolder.create(str(tmp_path / "run"))
    with pytest.raises(Killed):
        run(wrapped(folder)[1], wire, rounds=3)
    wire = Wire(wire.apps)
    fog, strategy = wrapped(RunFolder(folder.path))
    found = run(strategy, wire, rounds=3)
    assert np.array_equal(numbers(found), numbers(expected))
    assert found.train_metrics_clientapp == expected.train_metrics_clientapp, "of all rounds"
    assert found.evaluate_metrics_clientapp == expected.evaluate_metrics_clientapp
    assert fog.memory.rounds == 3


@pytest.mark.parametrize(
    "make", [lambda: CompressedFedAvg("stc"), lambda: FogTraining("stc"), lambda: EdgeOrFog("jpeg", "stc")]
)
def test_a_model_in_common_refuses_a_strategy_around_it(make: Callable[[], FogNode], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="put that strategy inside"):
        run(private(FIXED, make()), cameras(tmp_path, 2))


def test_a_strategy_around_that_drops_a_round_is_named(tmp_path: Path) -> None:
    """Flower's privacy strategies discard all answers if one device answers with an error."""
    wire = cameras(tmp_path, 3)
    real, wire.apps[11] = wire.apps[11], lambda message, context: 1 / 0
    fog = FogNode("jpeg", upload=None, inner=FedAvg(), min_devices=2, timeout=0.5)
    strategy = private(FIXED, fog)
    good = wire.apps[10]

    def fails_in_training(message: object, context: object) -> object:
        return 1 / 0 if message.metadata.message_type == MessageType.TRAIN else good(message, context)

    wire.apps[10], wire.apps[11] = fails_in_training, real
    run(strategy, wire, rounds=1)
    reasons = [failure.reason for failure in fog.failures]
    assert reasons == ["the strategy around this one discarded the answers of all 3 devices"]
    assert fog.memory.rounds == 1


def test_the_settings_of_an_inner_strategy_must_be_the_same_when_a_run_is_resumed(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    run(FogNode("jpeg", inner=FedProx(proximal_mu=0.1), keep=folder), cameras(tmp_path, 2), rounds=1)
    for inner in (FedProx(proximal_mu=0.2), FedAvg()):
        with pytest.raises(ConfigError, match="begun with inner"):
            FogNode("jpeg", inner=inner, keep=RunFolder(folder.path)).recall()
    assert FogNode("jpeg", inner=FedProx(proximal_mu=0.1), keep=RunFolder(folder.path)).recall() == 1


def test_what_a_privacy_strategy_adapts_comes_back(tmp_path: Path) -> None:
    name = "DifferentialPrivacyServerSideAdaptiveClipping"
    whole, broken = (private(name, FedAvg()) for _ in range(2))
    run(FogNode("jpeg", inner=whole), cameras(tmp_path / "a", 2), rounds=3)
    folder = RunFolder.create(str(tmp_path / "run"))
    wire = cameras(tmp_path / "b", 2)
    run(FogNode("jpeg", inner=broken, keep=folder), wire, rounds=2)
    again = private(name, FedAvg())
    run(FogNode("jpeg", inner=again, keep=RunFolder(folder.path)), wire, rounds=3)
    assert again.clipping_norm == whole.clipping_norm != broken.clipping_norm


class Around(FedAvg):
    """A strategy of a user's own, with state of many types, around another under a name of its own."""

    def __init__(self, base: Strategy) -> None:
        super().__init__()
        self.base = base
        self.total, self.last, self.seen, self.best = np.zeros(2), np.float32(0), [0.5], {"round": 0}
        self.names, self.count = np.array(["a"]), Counter("ab")  # of types that are not kept
        base.outer = self  # type: ignore[attr-defined]

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[Any, Any]:
        self.total, self.last = self.total + server_round, np.float32(self.last + server_round)
        self.seen, self.best = [*self.seen, float(server_round)], {"round": self.best["round"] + server_round}
        self.count.update(["round"])
        return self.base.aggregate_train(server_round, replies)


def test_the_state_of_a_strategy_of_ones_own_comes_back(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    wire = cameras(tmp_path / "a", 2)
    run(FogNode("jpeg", inner=Around(FedAdam()), keep=folder), wire, rounds=2)
    again = Around(FedAdam())
    run(FogNode("jpeg", inner=again, keep=RunFolder(folder.path)), wire, rounds=3)
    whole = Around(FedAdam())
    run(FogNode("jpeg", inner=whole), cameras(tmp_path / "b", 2), rounds=3)
    assert again.total.tolist() == [6, 6]
    assert (again.last, again.seen, again.best) == (6, [0.5, 1, 2, 3], {"round": 6})
    assert (type(again.last), again.count) == (np.float32, Counter({"a": 1, "b": 1, "round": 1}))
    for mine, theirs in zip(arrays_in(again).items(), arrays_in(whole).items(), strict=True):
        assert mine[0] == theirs[0]
        assert np.array_equal(mine[1], theirs[1]), "FedAdam's momenta too"


def test_arrays_of_nodes_come_back_under_their_numbers() -> None:
    strategy, again = FedAvg(), FedAvg()
    vars(strategy).update(by_node={10: np.ones(2), -3: np.zeros(1)}, mixed={10: np.ones(2), "a": np.ones(2)})
    put_arrays(again, arrays_in(strategy))
    assert {node: array.tolist() for node, array in vars(again)["by_node"].items()} == {10: [1, 1], -3: [0]}
    assert "mixed" not in vars(again)


def test_an_option_that_is_no_number_yet_is_the_same_when_a_run_is_resumed(tmp_path: Path) -> None:
    def inner(best: float) -> Strategy:
        strategy = FedAvg()
        vars(strategy).update(best=best, least=float("inf"))
        return strategy

    folder = RunFolder.create(str(tmp_path / "run"))
    run(FogNode("jpeg", inner=inner(float("nan")), keep=folder), cameras(tmp_path, 2), rounds=1)
    assert FogNode("jpeg", inner=inner(float("nan")), keep=RunFolder(folder.path)).recall() == 1
    with pytest.raises(ConfigError, match="begun with inner"):
        FogNode("jpeg", inner=inner(0.5), keep=RunFolder(folder.path)).recall()


class Steps(FedAvg):
    """Makes a strategy inside it when it is needed."""

    def __init__(self, milestones: list[int]) -> None:
        super().__init__()
        self.milestones = milestones
        self.base: FedAvg | None = None

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[Any, Any]:
        self.base = self.base or FedAvg()
        self.milestones.append(server_round)
        return self.base.aggregate_train(server_round, replies)


def test_a_run_goes_on_with_the_same_lists_and_the_same_strategies_inside(tmp_path: Path) -> None:
    folder = RunFolder.create(str(tmp_path / "run"))
    run(FogNode("jpeg", inner=Steps([5]), keep=folder), cameras(tmp_path, 2), rounds=1)
    for milestones, text in (([6], "begun with inner"), ([5], "around 1 others, not 0; strategies inside it must be")):
        with pytest.raises(ConfigError, match=text):
            FogNode("jpeg", inner=Steps(milestones), keep=RunFolder(folder.path)).recall()


def test_an_inner_strategy_that_cannot_aggregate_is_a_failure_of_the_fog(tmp_path: Path) -> None:
    strategy = FogNode("jpeg", upload=None, inner=QFedAvg(client_learning_rate=0.1, train_loss_key="sharpness"))
    run(strategy, cameras(tmp_path, 2), rounds=1)
    assert [(f.device, f.kind) for f in strategy.failures] == [("fog", "error")]
    assert "QFedAvg does not aggregate" in strategy.failures[0].reason
    assert AggregationError.__name__


class Faulty(FedAvg):
    """Gives what ``spoil`` makes of the average."""

    def __init__(self, spoil: Callable[[np.ndarray], ArrayRecord]) -> None:
        super().__init__()
        self.spoil = spoil

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[Any, Any]:
        arrays, metrics = super().aggregate_train(server_round, replies)
        assert arrays is not None
        return self.spoil(arrays["numbers"].numpy()), metrics


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda numbers: {}["no such"], "Faulty does not aggregate: KeyError: 'no such'"),
        (lambda numbers: ArrayRecord({"numbers": Array(numbers * np.nan)}), "Faulty is not used: .* holds nan"),
        (lambda numbers: ArrayRecord({"numbers": Array(numbers * np.inf)}), "Faulty is not used: .* holds inf"),
        (lambda numbers: ArrayRecord({"other": Array(numbers)}), "Faulty is not used: the model has other arrays"),
        (lambda numbers: ArrayRecord({"numbers": Array(numbers[:2])}), r"\(2,\); the fog's is float32 \(3,\)"),
    ],
)
@pytest.mark.parametrize("make", [partial(FogNode, "jpeg", upload=None), partial(CompressedFedAvg, "full")])
def test_a_faulty_average_is_a_failure_of_the_fog_and_the_model_stays(
    make: Callable[..., FogNode], spoil: Callable[[np.ndarray], ArrayRecord], text: str, tmp_path: Path
) -> None:
    fog, config = make(inner=Faulty(spoil)), ConfigRecord({"class-names": ["cup"]})
    start = ArrayRecord({"numbers": Array(np.ones(3, np.float32))})
    fog.start(cameras(tmp_path, 2), start, 2, 1, config, config)
    assert [(f.round, f.device, f.kind) for f in fog.failures] == [(1, "fog", "error"), (2, "fog", "error")]
    assert re.search(text, fog.failures[0].reason)
    assert fog.arrays["numbers"].numpy().tolist() == [1, 1, 1]


class Silent(FedAvg):
    """Gives ``messages`` of what FedAvg would send."""

    def __init__(self, messages: Callable[[list[Message]], Any]) -> None:
        super().__init__()
        self.messages = messages

    def configure_train(self, *args: Any) -> Any:
        return self.messages(list(super().configure_train(*args)))


def _renamed(messages: list[Message]) -> list[Message]:
    for message in messages:
        message.content = RecordDict({"arrays": message.content["arrays"], "settings": message.content["config"]})
    return messages


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (lambda messages: None, "configure_train of Silent gave None"),
        (_renamed, r"of Silent has the records \['arrays', 'settings'\]; it must have a ConfigRecord 'config'"),
    ],
)
def test_messages_that_no_device_can_be_sent_are_named(
    messages: Callable[[list[Message]], Any], text: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=text):
        run(FogNode("jpeg", upload=None, inner=Silent(messages)), cameras(tmp_path, 2), rounds=1)
