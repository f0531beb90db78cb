"""Griffe extension: references in docstrings (:class:`Name`) become code, as Markdown has no such roles."""

import re

import griffe

ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?\.?([^`]+)`")


class Roles(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = ROLE.sub(r"`\1`", obj.docstring.value)
