"""Links between the repository's own pages lead to files that are there; MkDocs checks those within docs/ again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    p
    for p in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"))
    if "node_modules" not in p.parts
)
LINK = re.compile(r"\]\(([^)\s#]+)(?:#[\w-]*)?\)|src=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = [found[1] or found[2] for found in LINK.finditer(text)]
    gone = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert gone == []
