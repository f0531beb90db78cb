"""What errors about a scenario share: which key is wrong, and what it may be instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from rinr_flower.errors import ConfigError


@contextmanager
def in_key(key: str) -> Iterator[None]:
    """Put the scenario key before the text of a ConfigError."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"scenario key {key!r}: {error}") from error


def check_known(given: Iterable[object], known: Iterable[str], where: str, what: str = "option") -> None:
    """ConfigError if one of ``given`` is not ``known``, with all that there are and the one that was probably meant.

    ``where`` has ``known``, each of which is ``what``.
    """
    names = sorted(known)
    for name in given:
        if name not in names:
            close = get_close_matches(str(name), names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{where} has no {what} {name!r}; known: {', '.join(names)}{hint}")
