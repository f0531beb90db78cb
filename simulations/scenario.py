"""A scenario: everything one run needs to be repeated, from a YAML file and the command line."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from rinr_flower.bandwidth import LinkModel
from rinr_flower.bandwidth.profiles import PROFILES
from rinr_flower.codecs import codecs
from rinr_flower.codecs.roi import StillRoi
from rinr_flower.codecs.roi_video import VideoRoi
from rinr_flower.datasets.dealing import dealings
from rinr_flower.detection import architecture
from rinr_flower.errors import ConfigError
from rinr_flower.files import write_text
from rinr_flower.messages.common_model import FEDERATED, options_of
from rinr_flower.registry import build_dataclass, check_known
from rinr_flower.simulations.client_resources import ClientResources
from rinr_flower.trackers import Tracking
from rinr_flower.updates import updates

T = TypeVar("T")

SHIPPED = Path(__file__).parent
RIVALS: tuple[Mapping[str, Any], ...] = (
    {"name": "jpeg", "quality": 20},
    {"name": "jpeg", "quality": 50},
    {"name": "webp"},
    {"name": "avif"},
    {"name": "roi_jpeg"},
    {"name": "roi_avif"},
)
VIDEO_RIVALS: tuple[Mapping[str, Any], ...] = ({"name": "x264"}, {"name": "av1"}, {"name": "roi_av1"})


UNUSED: Mapping[str, tuple[str, ...]] = {
    "fog": ("compressor",),
    "fog_training": ("codec",),
    "compressed_fedavg": ("codec", "upload"),
    "jpeg_serverless": ("codec", "upload", "compressor"),
    "jpeg_relay": ("codec", "upload", "compressor"),
    "auto": (),
}
"""Scenario keys that a strategy does not use."""


def default_rivals() -> list[dict[str, Any]]:
    """The rivals of every report; those that code video where PyAV is installed (the extra ``video``)."""
    video = VIDEO_RIVALS if importlib.util.find_spec("av") else ()
    return [dict(rival) for rival in (*RIVALS, *video)]


@dataclass(frozen=True)
class Scenario:
    """What runs. Every field is a key of a scenario file and of ``--set``.

    Attributes
    ----------
    num_clients : edge devices.
    rounds : rounds of capture, sharing, training and evaluation.
    strategy : ``fog`` encodes what the devices upload; ``jpeg_serverless`` and ``jpeg_relay`` are the baselines that
        share the captures as they are, device to device or through the fog. ``fog_training`` sends captures up and
        model updates down, ``compressed_fedavg`` sends updates both ways and no captures, ``auto`` takes ``fog`` or
        ``fog_training`` in every round, whichever sends fewer bytes.
    codec : what the fog encodes with: a codec's name, or a mapping with ``name`` and the codec's options.
    upload : what the devices upload with, written alike; ``jpeg`` uploads the camera's own files.
    compressor : what makes model updates, written alike: an update compressor's name, or a mapping. Without a name it
        is ``factorised``, of rank 8 and 8 bits for vectors for ``compressed_fedavg``.
    aggregation : ``none`` (each device keeps its own model, as in the papers) or the name of a Flower strategy class
        that averages models (``FedAvg``, ``FedProx``, ...), alone or as a mapping with ``name`` and its options.
        ``compressed_fedavg`` takes ``none`` for ``FedAvg``; where the fog trains there is nothing to average.
    min_devices : a round with fewer answers is skipped.
    encoders : groups of clips that the fog encodes at the same time, each in a worker process; 0 takes one per worker.
    classes : names of the classes, for devices whose disks the fog cannot read; else those of the data are taken.
    data : where frames come from, for example ``sample`` or ``otb100:PATH``.
    deal : how the data is dealt to the devices: ``sequence`` (each gets a stretch of one), ``source``, ``iid``, or
        ``dirichlet``, alone or as a mapping with ``name`` and options, see :mod:`rinr_flower.datasets.dealing`.
    skip_broken : files of the data set that cannot be read are left out and named in the report, not an error.
    frames_per_clip : frames of one capture.
    holdout : frames that each device keeps for evaluation and never captures.
    weights : detector weights: ``factory`` trains a start model on other generated sequences, ``scratch`` starts from
        random weights, anything else is a path or a name that ultralytics downloads.
    detector : what devices train: a detection model of ultralytics by name or YAML file (``yolov8n``, ``yolo11s``),
        or a mapping with ``name`` and options, such as ``{name: torchvision}``.
    image_size : longer side in pixels of the detector's input, a multiple of 32.
    steps : training steps of a device in a round.
    batch : frames of one training step.
    learning_rate : of the detector's optimiser.
    blur : share of the frames that training blurs at random, 0..1, so that a detector does not learn from a codec that
        objects are what is sharp.
    factory_steps : training steps of the factory model.
    device : ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``: where devices and fog compute.
    parallel : simulated devices that compute at the same time; 0 takes as many as CPUs, GPUs and memory allow.
    client_resources : what a simulated device reserves, ``num_cpus`` and ``num_gpus``, also as fractions. By default a
        CPU and, where devices compute on CUDA, an even share of the GPUs.
    ray_address : the Ray cluster that plays the devices: ``HOST:PORT``, ``auto`` or ``local``. Empty takes the
        environment variable RAY_ADDRESS, else a Ray of its own on this machine.
    seed : every random choice follows from it, but for the factory's training, which is the same for all seeds.
    link : the link model's fields, see :class:`rinr_flower.bandwidth.LinkModel`.
    timeout_s : how long the fog waits for answers in one exchange, and how long a message lives; in a simulation, in
        which devices wait for each other, so many times longer as there are devices for each that computes.
    rivals : rival codecs that the fog encodes the same captures with, for the report.
    rival_clips : how many clips the rivals are measured on.
    log : experiment trackers that are told the metrics of every round and get the report: a list of ``tensorboard``,
        ``mlflow``, ``wandb``, each alone or as a mapping with ``name`` and options, see :mod:`rinr_flower.trackers`.
    out : the run's folder, new or empty; empty text makes ``runs/DATE-TIME``.
    """

    num_clients: int = 10
    rounds: int = 2
    strategy: Literal["fog", "jpeg_serverless", "jpeg_relay", "fog_training", "compressed_fedavg", "auto"] = "fog"
    codec: str | dict[str, Any] = "scene"
    upload: str | dict[str, Any] = "jpeg"
    compressor: str | dict[str, Any] = field(default_factory=dict)
    aggregation: str | dict[str, Any] = "none"
    min_devices: int = 1
    encoders: int = 0
    classes: list[str] = field(default_factory=list)
    data: str = "sample"
    deal: str | dict[str, Any] = "sequence"
    skip_broken: bool = False
    frames_per_clip: int = 16
    holdout: int = 16
    weights: str = "factory"
    detector: str | dict[str, Any] = "yolov8n"
    image_size: int = 160
    steps: int = 40
    batch: int = 8
    learning_rate: float = 1e-3
    blur: float = 0.0
    factory_steps: int = 200
    device: str = "auto"
    parallel: int = 0
    client_resources: dict[str, Any] = field(default_factory=dict)
    ray_address: str = ""
    seed: int = 0
    link: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 1800.0
    rivals: list[Any] = field(default_factory=default_rivals)
    rival_clips: int = 4
    log: list[Any] = field(default_factory=list)
    out: str = ""

    def __post_init__(self) -> None:
        for name, low in (
            ("num_clients", 2),
            ("rounds", 1),
            ("min_devices", 1),
            ("encoders", 0),
            ("frames_per_clip", 1),
            ("holdout", 1),
            ("steps", 1),
            ("batch", 1),
            ("factory_steps", 1),
            ("parallel", 0),
            ("rival_clips", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < low:
                raise ConfigError(f"scenario key {name!r} is {getattr(self, name)}; it must be at least {low}")
        if self.seed >= 2**63:
            raise ConfigError(f"scenario key 'seed' is {self.seed}; it must be below 2**63")
        if self.image_size < 32 or self.image_size % 32:
            raise ConfigError(f"scenario key 'image_size' is {self.image_size}; it must be a multiple of 32")
        if not 0 <= self.blur <= 1:
            raise ConfigError(f"scenario key 'blur' is {self.blur}; it must be a probability, 0..1")
        for name in ("learning_rate", "timeout_s"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"scenario key {name!r} is {getattr(self, name)}; it must be greater than 0")
        if self.min_devices > self.num_clients:
            raise ConfigError(f"min_devices is {self.min_devices}, but there are only {self.num_clients} devices")
        for name in ("codec", "upload", "compressor", "aggregation", "deal", "detector"):
            if not isinstance(value := getattr(self, name), str | dict):
                raise ConfigError(
                    f"scenario key {name!r} is {value!r}; it is a name, or a mapping with name and options"
                )
        if not isinstance(self.classes, list) or not all(isinstance(name, str) for name in self.classes):
            raise ConfigError(f"scenario key 'classes' is {self.classes!r}; it is a list of names")
        if twice := [name for at, name in enumerate(self.classes) if name in self.classes[:at]]:
            raise ConfigError(f"scenario key 'classes' is {self.classes!r}; give {twice[0]!r} once")
        if not isinstance(self.rivals, list):
            raise ConfigError(f"scenario key 'rivals' is {self.rivals!r}; it is a list of codecs")
        rivals = {f"rivals[{number}]": rival for number, rival in enumerate(self.rivals)}
        for name, component in {"codec": self.codec, "upload": self.upload, **rivals}.items():
            with _in_key(name):
                _check_codec(component)
        with _in_key("compressor"):
            updates.create(self.update_compressor)
        with _in_key("deal"):
            dealings.create(self.deal)
        with _in_key("detector"):
            architecture(self.detector)
        if not isinstance(self.log, list):
            raise ConfigError(f"scenario key 'log' is {self.log!r}; it is a list of trackers")
        with _in_key("log"):
            Tracking(self.log)
        if self.aggregation != "none" and self.strategy in ("fog_training", "auto"):
            raise ConfigError(
                f"aggregation is {self.aggregation!r}, but strategy {self.strategy!r} averages no models; leave it "
                "'none', or take the strategy 'fog' or 'compressed_fedavg'"
            )
        if self.aggregation != "none":
            from rinr_flower.simulations.aggregation import aggregation, check_enough  # Flower: takes a second

            if (strategy := aggregation(self.aggregation)) is not None:
                check_enough(strategy, self.num_clients)
        self.link_model()
        self.resources()

    def resources(self) -> ClientResources:
        """What a simulated device reserves."""
        return _fields_of(ClientResources, self.client_resources, "client_resources")

    def link_model(self) -> LinkModel:
        """The link that turns bytes into seconds."""
        if str(self.link) in PROFILES:
            raise ConfigError(f"scenario key 'link' is {self.link!r}, a profile; give link.profile={self.link}")
        return _fields_of(LinkModel, self.link, "link", "profile")

    @property
    def update_compressor(self) -> dict[str, Any]:
        """``compressor`` as a mapping with a name."""
        given = {"name": self.compressor} if isinstance(self.compressor, str) else self.compressor
        if "name" in given:
            return given
        return {**(options_of(FEDERATED) if self.strategy == "compressed_fedavg" else {"name": "factorised"}), **given}

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as in a scenario file."""
        return dataclasses.asdict(self)

    def save(self, path: Path) -> None:
        """Write a scenario file that gives this scenario again."""
        write_text(path, yaml.safe_dump(self.to_mapping(), sort_keys=False))


def load_scenario(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> Scenario:
    """A scenario from a YAML file, with ``overrides`` put over it.

    ``file`` is a path or the name of a scenario that is shipped (``default``, ``quick``, ...); None is ``default``.
    A key of ``overrides`` may reach into a mapping with dots: ``codec.steps``. Raises ConfigError on an unknown key, a
    value of the wrong type or out of range, a file that is not there or not a mapping, and overrides that the strategy
    does not use; those of a file may be meant for other strategies.
    """
    values = _read("default" if file is None else file)
    known = [f.name for f in dataclasses.fields(Scenario)]
    check_known(values, known, "the scenario" if file is None else f"scenario file {str(file)!r}")
    for key, value in (overrides or {}).items():
        _put(values, key, value)
    scenario = build_dataclass(Scenario, values, where="a scenario")
    _check_used(scenario, {key.partition(".")[0] for key in overrides or {}})
    return scenario


def begun_scenario(folder: Path, file: str | Path | None, overrides: Mapping[str, Any]) -> Scenario:
    """The scenario of a run that was begun in ``folder``.

    ConfigError if there is none, or if ``file`` or ``overrides`` say anything else than what was begun.
    """
    path = folder / "scenario.yaml"
    if not path.is_file():
        raise ConfigError(f"{folder} holds no run to go on with: it has no scenario.yaml")
    begun = load_scenario(path, {"out": str(folder)})
    now = load_scenario(path if file is None else file, {**overrides, "out": str(folder)})
    for key, value in begun.to_mapping().items():
        if (other := getattr(now, key)) != value:
            raise ConfigError(
                f"the run was begun with {key}={value!r} and cannot go on with {other!r}; leave the option out, or "
                "begin a new run in a new folder"
            )
    return begun


def shipped_scenarios() -> list[str]:
    """Names of the scenario files that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _fields_of(kind: type[T], values: object, key: str, *beside: str) -> T:
    """A dataclass from the scenario key ``key``; ConfigError if that holds anything but its fields and ``beside``."""
    known = [*(f.name for f in dataclasses.fields(kind)), *beside]  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise ConfigError(f"scenario key {key!r} is {values!r}; it holds keys and values; known: {', '.join(known)}")
    check_known(values, known, f"scenario key {key!r}")
    return build_dataclass(kind, values, where=f"scenario key {key!r}")


@contextmanager
def _in_key(key: str) -> Iterator[None]:
    """Put the scenario key before the text of a ConfigError."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"scenario key {key!r}: {error}") from error


def _check_codec(component: str | Mapping[str, Any]) -> None:
    """ConfigError unless it is a codec, or if it would fail once its background is encoded."""
    background = getattr(codecs.create(component), "background", None)
    if isinstance(background, StillRoi | VideoRoi):
        raise ConfigError(
            f"codec {background.name!r} codes objects itself; it cannot be a background; take one of whole frames, "
            "such as rapid_inr, nerv or jpeg"
        )


def _check_used(scenario: Scenario, given: set[str]) -> None:
    """ConfigError if the strategy does not use one of the keys ``given``, unless it stands for what is done anyway."""
    unused = [
        f"{key} ({value if isinstance(value, str) else value.get('name', value)})"
        for key in UNUSED[scenario.strategy]
        if key in given and (value := getattr(scenario, key)) not in ({}, "jpeg", {"name": "jpeg"})
    ]
    if unused:
        others = [name for name, keys in UNUSED.items() if given.isdisjoint(keys)]
        raise ConfigError(
            f"strategy {scenario.strategy!r} does not use {' and '.join(unused)}; leave it out, or take another "
            f"strategy: {', '.join(others)}"
        )


def _read(file: str | Path) -> dict[str, Any]:
    path = Path(file)
    if str(file) in shipped_scenarios():
        path = SHIPPED / f"{file}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(shipped_scenarios())
        raise ConfigError(f"no scenario file {str(file)!r}; give a path, or one of {known}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"scenario file {str(file)!r} cannot be read: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"scenario file {str(file)!r} holds a {type(values).__name__}; it must hold keys and values")
    return values


def _put(values: dict[str, Any], key: str, value: Any, within: str = "") -> None:
    """Set ``key``, which may reach into a mapping with dots; a component given by name becomes a mapping.

    ConfigError if it reaches into anything else. ``within``: the keys that ``values`` stands under, with dots.
    """
    outer, _, inner = key.partition(".")
    if not inner:
        values[outer] = value
        return
    mapping = values.get(outer, {})
    if isinstance(mapping, str):
        mapping = {"name": mapping}
    if not isinstance(mapping, dict):
        raise ConfigError(
            f"scenario key {within + key!r} cannot be set to {value!r}: {within + outer!r} is {mapping!r}, which holds "
            "no keys and values"
        )
    if outer in ("codec", "upload", "aggregation", "deal") and "name" not in mapping:
        mapping = {"name": next(f.default for f in dataclasses.fields(Scenario) if f.name == outer), **mapping}
    mapping = dict(mapping)
    _put(mapping, inner, value, f"{within}{outer}.")
    values[outer] = mapping
