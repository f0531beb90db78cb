"""The project's commands in this process, without the seconds that an interpreter takes to import torch."""

from __future__ import annotations

import io
import logging
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import entry_points
from unittest.mock import patch


@dataclass(frozen=True)
class Done:
    """How a command ended, with the names of ``subprocess.CompletedProcess``."""

    returncode: int
    stdout: str
    stderr: str


def run_here(command: str, *arguments: object) -> Done:
    """Run a console script of the distribution, for example ``rinr``, as its process would.

    Flower has a ``flower-simulation`` of its own, which is not meant. Log records go to standard
    error, as they do where no handler is set.
    """
    found = entry_points(group="console_scripts", name=command)
    main = next(script for script in found if script.value.startswith("rinr_flower.")).load()
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    with (
        patch.object(sys, "argv", [command, *map(str, arguments)]),
        patch.object(logging.root, "handlers", []),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    return Done(code if isinstance(code, int) else int(code is not None), out.getvalue(), err.getvalue())
