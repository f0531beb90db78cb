"""Components of other distributions, sound and broken, and options of the wrong type."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rinr_flower.codecs import codecs
from rinr_flower.errors import ConfigError
from rinr_flower.registry import Registry

MODULE = """
from abc import ABC, abstractmethod
from dataclasses import dataclass

class Base(ABC):
    @abstractmethod
    def draw(self): ...

@dataclass(frozen=True)
class Good(Base):
    size: int = 1
    def draw(self): ...

class Bare(Good):
    size: int = 2

@dataclass(frozen=True)
class Half(Base):
    size: int = 3
"""
POINTS = {
    "gone": "no_such_module:X",
    "typo": "my_plug_in:Goood",
    "bare": "my_plug_in:Bare",
    "half": "my_plug_in:Half",
    "good": "my_plug_in:Good",
}
REASONS = {
    "gone": "ModuleNotFoundError: No module named 'no_such_module'",
    "typo": "AttributeError: module 'my_plug_in' has no attribute 'Goood'",
    "bare": "my_plug_in.Bare is not a dataclass, so it cannot be the toy 'bare'; register a class, with "
    "@dataclass(frozen=True) right above it",
    "half": "my_plug_in.Half lacks draw, which every toy defines",
}


@dataclass(frozen=True)
class Shipped:
    size: int = 4


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[Any]:
    """An empty registry of toys, in whose group the package my-package 1.0 has POINTS."""
    (tmp_path / "my_plug_in.py").write_text(MODULE)
    info = tmp_path / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    points = "".join(f"{name} = {value}\n" for name, value in POINTS.items())
    (info / "entry_points.txt").write_text(f"[rinr_flower.toys]\n{points}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_plug_in", raising=False)
    return Registry("toy", "rinr_flower.toys")


def test_broken_entry_points_cost_a_warning_each_and_nothing_else(
    registry: Registry[Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert registry.names() == ["good"]
    assert registry.create("good", size="7").size == 7
    texts = {name: f"toy {name!r} of my-package 1.0 cannot be loaded: {reason}" for name, reason in REASONS.items()}
    assert sorted(record.getMessage() for record in caplog.records) == sorted(texts.values())
    assert all(record.levelno == logging.WARNING for record in caplog.records)
    for name, text in texts.items():
        with pytest.raises(ConfigError) as refused:
            registry.get(name)
        assert str(refused.value) == f"{text}; mend that package"


def test_a_shipped_name_stays_and_a_warning_says_so(registry: Registry[Any], caplog: pytest.LogCaptureFixture) -> None:
    registry.register("good")(Shipped)
    assert registry.get("good") is Shipped
    (warning,) = [text for record in caplog.records if "'good'" in (text := record.getMessage())]
    assert warning == (
        f"toy 'good' of my-package 1.0 (my_plug_in:Good) is not used: {__name__}:Shipped has that name; give it another"
    )


def test_a_class_that_its_own_package_registered_already_is_no_clash(
    registry: Registry[Any], caplog: pytest.LogCaptureFixture
) -> None:
    registry.register("good")(import_module("my_plug_in").Good)
    registry.names()
    assert not [record for record in caplog.records if "'good'" in record.getMessage()]


def test_what_is_no_dataclass_is_refused_at_registration() -> None:
    toys: Registry[Any] = Registry("toy", "rinr_flower.no_such_group")

    class Plain:
        size: int = 1

    for wrong in (Plain, Shipped(), print):
        with pytest.raises(ConfigError, match=r"is not a dataclass, so it cannot be the toy 'x'; .*dataclass\(frozen"):
            toys.register("x")(wrong)  # type: ignore[arg-type]
    assert toys.names() == []


@pytest.mark.parametrize("option", ["spec", "self", "name"])
def test_an_option_may_have_any_name(option: str) -> None:
    with pytest.raises(ConfigError, match=f"codec 'jpeg' has no option '{option}'"):
        codecs.create("jpeg", **{option: 1})


def test_true_is_no_number() -> None:
    with pytest.raises(ConfigError, match="option 'quality': True is not a number"):
        codecs.create("webp", quality=True)
