"""HTML as nested function calls; every text is escaped unless it already is :class:`Html`."""

from __future__ import annotations

from html import escape

_VOID = frozenset({"meta", "img", "br", "link", "input"})


class Html(str):
    """Markup that is safe to put into a page as it is."""

    __slots__ = ()


def element(tag: str, *children: object, **attributes: object) -> Html:
    """``<tag attributes>children</tag>``.

    Children that are None are left out; whatever is not :class:`Html` is turned into text and escaped. In attribute
    names a trailing underscore is dropped and others become hyphens (``class_``, ``data_value``); None leaves one out,
    True gives it no value.
    """
    head = tag
    for name, value in attributes.items():
        if value is None or value is False:
            continue
        key = name.removesuffix("_").replace("_", "-")
        head += f" {key}" if value is True else f' {key}="{escape(str(value), quote=True)}"'
    if tag in _VOID:
        return Html(f"<{head}>")
    return Html(f"<{head}>{join(*children)}</{tag}>")


def join(*children: object) -> Html:
    """Several children one after the other, escaped as in :func:`element`."""
    return Html("".join(c if isinstance(c, Html) else escape(str(c)) for c in children if c is not None))
