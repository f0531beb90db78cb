"""MkDocs hook: serve the figures of benchmarks/results, which pages link to as they lie in the repository."""

import re
from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
LINK = re.compile(r"\]\((?:\.\./)+benchmarks/results/([\w-]+\.(?:png|svg))\)")


def on_files(files, config):
    """Add every figure of the results as images/NAME, unless docs/images has one of that name."""
    for path in sorted([*RESULTS.glob("*.png"), *RESULTS.glob("*.svg")]):
        if files.get_file_from_path(f"images/{path.name}") is None:
            files.append(File.generated(config, f"images/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links to these figures at the copies."""
    up = "../" * page.file.src_uri.count("/")
    return LINK.sub(rf"]({up}images/\1)", markdown)
