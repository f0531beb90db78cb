"""Names of devices and clips, as messages carry them."""

from __future__ import annotations

import unicodedata

MAX_NAME_LENGTH = 128


def is_name(text: str) -> bool:
    """Whether a text is short enough and all its characters are printable, see :func:`as_name`."""
    return len(text) <= MAX_NAME_LENGTH and all(map(_is_printable, text))


def as_name(text: str) -> str:
    """The text as a name: ``?`` for characters that are not printable, ``…`` for the middle of one that is too long."""
    clean = "".join(c if _is_printable(c) else "?" for c in text)
    if len(clean) <= MAX_NAME_LENGTH:
        return clean
    half = MAX_NAME_LENGTH // 2
    return f"{clean[: half - 1]}…{clean[-half:]}"


def _is_printable(character: str) -> bool:
    """Spaces of any kind are: a folder's name may hold a no-break one."""
    return character.isprintable() or unicodedata.category(character) == "Zs"
