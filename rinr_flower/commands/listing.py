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
            options = ", ".join(name for name, *_ in _options(cls) if name != "path")
            table.add_row(known, Text(_summary(cls)), Text(options))
        console.print(table)
        return
    cls = registry.get(name)
    console.print(Text(f"{name}: {_summary(cls)}"))
    table = Table("option", "default", "meaning")
    for row in _options(cls):
        table.add_row(*map(Text, row))
    console.print(table)


def _summary(cls: type) -> str:
    """The docstring up to its first empty line, on one line."""
    return _plain(inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0])


def _options(cls: type) -> list[tuple[str, str, str]]:
    """Name, default and meaning of each option: the fields, and what ``parse_options`` takes beside them."""
    meanings = _attributes(cls)
    rows = [(f.name, _default(f), meanings.pop(f.name, "")) for f in dataclasses.fields(cls)]
    return rows + [(name, "", text) for name, text in meanings.items() if hasattr(cls, "parse_options")]


def _attributes(cls: type) -> dict[str, str]:
    """The text of each name in the sections Attributes of the docstrings of a class and its bases.

    A text of several names stands at the first; the others refer to it.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, section = inspect.cleandoc(vars(base).get("__doc__") or "").partition("Attributes\n----------\n")
        for entry in re.split(r"\n(?=\S)", section.split("\n\n")[0]):
            names, colon, text = entry.partition(" : ")
            first, *others = names.split(", ") if colon else [""]
            found |= {first: _plain(text)} | dict.fromkeys(others, f"see {first}") if first else {}
    return found


def _plain(text: str) -> str:
    """A docstring's text on one line, without markup: of :class:`~a.b.C`, C is left."""
    return " ".join(re.sub(r":[\w:]+:`~?(?:\w+\.)*(\w+)`", r"\1", text).replace("``", "").split())


def _default(option: dataclasses.Field[Any]) -> str:
    if option.default is not dataclasses.MISSING:
        return str(option.default)
    if option.default_factory is not dataclasses.MISSING:
        return str(option.default_factory())
    return "required"
