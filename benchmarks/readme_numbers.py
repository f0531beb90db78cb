"""Write the measured numbers into README.md and the docs, from the committed results.

    python benchmarks/readme_numbers.py           rewrite the pages
    python benchmarks/readme_numbers.py --check   only say which pages are out of date; exit code 1 if any is

A page marks the text that is made here::

    <!-- numbers: NAME -->
    ...
    <!-- /numbers -->

NAME is one of TEXTS in benchmarks/number_texts.py, which makes the text from files in benchmarks/results. The tests
compare the pages with what this command would write, so a page cannot state what no result holds.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from number_texts import TEXTS

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n)(.*?)(<!-- /numbers -->)", re.DOTALL)
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(path.read_text(encoding="utf-8"))
)


def rewritten(page: str, results: Path = RESULTS) -> str:
    """A page's text with every marked block made anew. KeyError if a block's name is unknown."""
    return BLOCK.sub(lambda found: found[1] + TEXTS[found[2]](results) + "\n" + found[4], page)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    stale = 0
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        new = rewritten(text)
        if new != text:
            stale += 1
            print(f"{name}: {'out of date' if options.check else 'written'}")
            if not options.check:
                path.write_text(new, encoding="utf-8")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
