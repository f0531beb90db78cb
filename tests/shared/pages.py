"""Pages as a reader follows them: files that they print are written, commands are run, in the order printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title (the name of the file that it is), its text."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> Iterator[Block]:
    for language, title, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield Block(language, title, text)


def follow(page: Path, folder: Path, env: dict[str, str], adapted: Callable[[str], str | None]) -> list[str]:
    """Write and run what a page prints, in ``folder``; the commands that were run, as printed.

    ``adapted`` gives the command to run in place of a printed one; None leaves it out.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = []
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif not block.language:
            for line in block.text.splitlines():
                if (command := adapted(line)) is None:
                    continue
                ran = subprocess.run(
                    command, shell=True, cwd=folder, env={**os.environ, "PATH": path, **env},
                    capture_output=True, text=True, timeout=400, check=False,
                )  # fmt: skip
                assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
                done.append(line)
    return done
