"""How a benchmark ends as a command."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from rich.console import Console

from rinr_flower.errors import RinrError


def command(main: Callable[[], None]) -> Callable[[], int]:
    """``main`` with an exit code: 0, or 2 after a RinrError, whose text is printed on one line."""

    @wraps(main)
    def run() -> int:
        try:
            main()
        except RinrError as error:
            Console(soft_wrap=True).print(f"error: {error}", style="red", highlight=False, markup=False)
            return 2
        return 0

    return run
