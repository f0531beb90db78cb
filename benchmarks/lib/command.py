"""How a benchmark ends as a command."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from rinr_flower.errors import RinrError


def exit_code(main: Callable[[], None]) -> int:
    """Run ``main``: 0, or 2 after a RinrError, whose text is printed on one line."""
    try:
        main()
    except RinrError as error:
        Console(soft_wrap=True).print(f"error: {error}", style="red", highlight=False, markup=False)
        return 2
    return 0
