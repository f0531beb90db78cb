"""``rinr codecs`` and ``rinr datasets``: what is registered, and its options."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rinr_flower.registry import Registry


def codecs(name: Annotated[str, typer.Argument(help="a codec, for its options; all if not given")] = "") -> None:
    """List the codecs, or the options of one (for --set)."""
    from rinr_flower.codecs import codecs as registry

    show(registry, name)


def datasets(name: Annotated[str, typer.Argument(help="a kind of data set; all if not given")] = "") -> None:
    """List the kinds of data sets that are read, or the options of one (KIND:PATH,key=value)."""
    from rinr_flower.datasets import datasets as registry

    show(registry, name)


def show(registry: Registry[Any], name: str) -> None:
    """Print all components, or one with its options, their defaults and what they mean."""
    console = Console()
    if not name:
        table = Table(registry.kind, "", "options", title_justify="left")
        for known in registry.names():
            cls = registry.get(known)
            options = ", ".join(f.name for f in dataclasses.fields(cls) if f.name != "path")
            table.add_row(known, Text(_summary(cls)), Text(options))
        console.print(table)
        return
    cls = registry.get(name)
    attributes = _attributes(cls)
    console.print(Text(f"{name}: {_summary(cls)}"))
    table = Table("option", "default", "meaning")
    for option in dataclasses.fields(cls):
        table.add_row(option.name, Text(_default(option)), Text(attributes.get(option.name, "")))
    console.print(table)


def _summary(cls: type) -> str:
    """The docstring up to its first empty line, on one line."""
    return " ".join(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].split())


def _attributes(cls: type) -> dict[str, str]:
    """The text of each name in the docstring's section Attributes."""
    _, _, section = inspect.cleandoc(cls.__doc__ or "").partition("Attributes\n----------\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=\S)", section.split("\n\n")[0]):
        names, colon, text = entry.partition(" : ")
        for name in names.split(",") if colon else []:
            found[name.strip()] = " ".join(text.split())
    return found


def _default(option: dataclasses.Field[Any]) -> str:
    if option.default is not dataclasses.MISSING:
        return str(option.default)
    if option.default_factory is not dataclasses.MISSING:
        return str(option.default_factory())
    return "required"
