"""The commands that README and docs print: the cheap ones run as they stand, the others exist with their options.

Run in one folder, page by page and in the order printed. Only the path of the data set differs.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import run_here
from image_folders import write_images
from skimage.data import astronaut
from typer.main import get_command

from rinr_flower import cli as rinr_cli
from rinr_flower.frames import write_jpeg
from rinr_flower.report import cli as bandwidth_cli
from rinr_flower.simulations import cli as simulation_cli

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md")),
    "docs/tutorials/reproduce.md",  # tests/system/test_tutorials.py follows the others
]
COMMAND = re.compile(r"rinr |bandwidth-report |flower-simulation |(RINR_DATA=\S+ )?python benchmarks/")
NOT_RUN = {
    "flower-simulation": "minutes; the system tests run it, and the quick scenario as printed",
    "bandwidth-report --reproduce": "minutes to days; tests/system/test_reproduction.py runs profile quick as printed",
    "rinr model": "takes a run whose devices have trained; tests/system/test_tutorials.py has one",
    "rinr watch": "serves until it is interrupted; test_live.py asks its server for the page",
}
"""Our own commands that are printed but not run here, and why. Benchmarks take minutes to hours, each has its tests."""


def printed(page: str) -> list[str]:
    """Our commands on a page: in fences without a language, and on indented lines."""
    lines, language = [], None
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            language = line[3:].strip() if language is None else None
        elif language in ("", "bash", "sh") or (language is None and line.startswith("    ")):
            lines += [part.partition(" #")[0].strip() for part in line.split("&&")]
    return [line for line in lines if COMMAND.match(line)]


COMMANDS = [(page, command) for page in PAGES for command in dict.fromkeys(printed(page))]


def is_run(command: str) -> bool:
    return command.startswith(("rinr ", "bandwidth-report ")) and not any(command.startswith(c) for c in NOT_RUN)


@pytest.fixture(scope="module")
def otb100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small sequence in OTB100's layout, under the name that the pages use."""
    root = tmp_path_factory.mktemp("data") / "OTB100"
    (root / "Crossing" / "img").mkdir(parents=True)
    photograph = astronaut()
    for t in range(33):
        picture = np.ascontiguousarray(photograph[60:108, 150 + t : 214 + t])
        (root / "Crossing" / "img" / f"{t + 1:04d}.jpg").write_bytes(write_jpeg(picture, 90))
    (root / "Crossing" / "groundtruth_rect.txt").write_text("".join(f"{50 - t},11,12,20\n" for t in range(33)))
    return root


@pytest.mark.system
@pytest.mark.parametrize("page", sorted({page for page, command in COMMANDS if is_run(command)}))
def test_cheap_commands_run_as_printed(
    page: str, otb100: Path, saved_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "my" / "images", [f"{i}.jpg" for i in range(3)])
    (tmp_path / "my" / "data.yaml").write_text("train: images\nnames: [car]\n")
    for name in ("RUN", "OTHER-RUN", "runs/FIRST", "runs/SECOND"):
        shutil.copytree(saved_run, tmp_path / name)
    for command in (c for p, c in COMMANDS if p == page and is_run(c)):
        done = run_here(*shlex.split(command.replace("/data/OTB100", str(otb100))))
        assert done.returncode == 0, (command, done.stderr)
    if page == "README.md":
        assert len(list((tmp_path / "frames").iterdir())) == 32


@pytest.mark.parametrize(("page", "command"), [c for c in COMMANDS if not is_run(c[1])])
def test_the_others_exist_with_their_options(page: str, command: str) -> None:
    words = [word for word in shlex.split(command) if not word.startswith("RINR_DATA=")]
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    if words[0] == "python":
        script = (ROOT / words[1]).read_text(encoding="utf-8")
        parts = (ROOT / "benchmarks" / "lib").glob("speed_*.py") if words[1].endswith("speed.py") else ()
        source = "".join([script, *(part.read_text(encoding="utf-8") for part in parts)])
        missing = {o for o in options if f'"{o}"' not in source and f"{o[2:].replace('-', '_')}:" not in source}
        assert not missing
        return
    assert any(command.startswith(known) for known in NOT_RUN), f"{page}: run it, or say why not"
    parsed = get_command(
        {"flower-simulation": simulation_cli.app, "rinr": rinr_cli.app}.get(words[0], bandwidth_cli.app)
    )
    if words[0] == "rinr":
        parsed = parsed.commands[words[1]]  # type: ignore[attr-defined]
    known = {name for parameter in parsed.params for name in parameter.opts}
    assert options <= known


def test_pages_print_commands() -> None:
    """A change of the pages' layout must not empty the tests above."""
    assert len([c for _, c in COMMANDS if is_run(c)]) >= 8
    assert [p for p, c in COMMANDS if c == "flower-simulation --config quick"] == ["docs/simulation.md"]
