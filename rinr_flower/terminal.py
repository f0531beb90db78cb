"""What the commands share: options as text, progress, and errors as one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from rinr_flower.errors import ConfigError, DataError, RinrError

HELP = {"help_option_names": ["-h", "--help"]}
"""Context settings of every command."""


def parse_settings(settings: Sequence[str]) -> dict[str, str]:
    """``key=value`` strings as a mapping."""
    pairs = {}
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not (key and sign):
            raise ConfigError(f"--set {setting!r} is not key=value")
        pairs[key] = value
    return pairs


def parse_yaml_settings(settings: Sequence[str]) -> dict[str, Any]:
    """``key=value`` strings with YAML values as a mapping. ConfigError names the one that is not."""
    values = {}
    for key, text in parse_settings(settings).items():
        try:
            values[key] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date that is none
            reason = " ".join(str(getattr(error, "problem", None) or error).split())
            raise ConfigError(f"--set {key}={text}: the value is not YAML: {reason}") from error
    return values


def parse_frames(text: str) -> slice | None:
    """``A:B`` as a slice; empty is all frames."""
    if not text:
        return None
    first, sign, last = text.partition(":")
    try:
        chosen = slice(int(first) if first else 0, int(last) if last else None)
    except ValueError:
        chosen = slice(0, 0)
    if not sign or chosen.start < 0 or (chosen.stop is not None and chosen.stop <= chosen.start):
        raise ConfigError(f"--frames {text!r} is not A:B with 0 <= A < B, for example 0:32")
    return chosen


def parse_size(text: str) -> tuple[int, int]:
    """``WxH`` as (width, height) in pixels."""
    from rinr_flower.frames import MAX_FRAME_PX

    try:
        width, height = (int(v) for v in text.lower().split("x"))
    except ValueError:
        width = height = 0
    if width < 1 or height < 1 or width * height > MAX_FRAME_PX:
        raise ConfigError(f"--size {text!r} is not WxH in pixels within {MAX_FRAME_PX:,} in all, for example 640x360")
    return width, height


def new_folder(path: Path) -> Path:
    """Make ``path`` if it is not there. DataError if the folder that it belongs in is missing or it cannot be made."""
    check_target(path)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise DataError(f"{path}: cannot make this folder: {error.strerror}") from error
    return path


def check_target(path: Path) -> None:
    """DataError if ``path`` is a device, pipe or socket, or the folder that it belongs in is missing or is a file."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DataError(f"{path} is a device, pipe or socket; give the name of a file or folder")
    if file := next((parent for parent in path.parents if parent.is_file()), None):
        raise DataError(f"{path}: {file} is a file, not a folder; give a place in a folder")
    if not path.absolute().parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first (mkdir -p {path.parent})")


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on standard error; yields the function that takes the fraction done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda done: bar.update(task, completed=done)


def version_option(command: str, *beside: str) -> Any:
    """The option ``--version``: prints ``command`` and the version, and those of packages ``beside``, and ends."""

    def show(wanted: bool) -> None:
        if wanted:
            others = ", ".join(f"{name} {version(name)}" for name in beside)
            sys.stdout.write(f"{command} {version('rinr_flower')}{f' ({others})' if others else ''}\n")
            raise typer.Exit

    return typer.Option("--version", help="print the version and end", callback=show, is_eager=True)


def run(command: Callable[[], object]) -> None:
    """Run a command line. Bad input, and files that cannot be written or read, become one line on standard error and
    exit code 2."""
    try:
        command()
    except RinrError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        advice = "free space there, or make it readable and writable"
        sys.stderr.write(f"error: {where}{error.strerror or error}; {advice}\n")
        sys.exit(2)
