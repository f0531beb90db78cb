"""Write the measured tables into README.md and the docs, from the committed results.

    python benchmarks/readme_numbers.py           rewrite the pages
    python benchmarks/readme_numbers.py --check   write nothing; exit code 1 if a page is out of date

A page marks a table that is made here::

    <!-- numbers: NAME -->
    ...
    <!-- /numbers -->

NAME is one of TABLES or SENTENCES in benchmarks/lib/tables.py. Both commands say which results were measured with
other code than the present one; that is no error: a release measures them again.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lib.results import FOLDER, read_result, stale_rows
from lib.tables import SENTENCES, TABLES

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- numbers: (\w+) -->\n)(.*?)(<!-- /numbers -->)", re.DOTALL)
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if BLOCK.search(path.read_text(encoding="utf-8"))
)


def rewritten(page: str, results: Path = FOLDER) -> str:
    """A page's text with every marked block made anew. KeyError if a block's name is unknown."""
    return BLOCK.sub(lambda found: found[1] + (TABLES | SENTENCES)[found[2]](results) + "\n" + found[4], page)


def stale(results: Path = FOLDER) -> list[str]:
    """One line for each result file that was measured with other code, in part or as a whole."""
    lines = []
    for path in sorted(results.glob("*.json")):
        found = read_result(path)
        assert found is not None
        if counts := stale_rows(found):
            rows, every = sum(counts.values()), len(found["rows"])
            modules = sorted({m for digest in counts for m in found["code"].get(digest, ["unknown code"])})
            lines.append(f"{path.name}: {rows:,} of {every:,} rows are of other code ({', '.join(modules)})")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args()
    changed = 0
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        new = rewritten(text)
        if new != text:
            changed += 1
            print(f"{name}: {'out of date' if options.check else 'written'}")
            if not options.check:
                path.write_text(new, encoding="utf-8")
    for line in stale():
        print(f"stale: {line}")
    return 1 if changed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
