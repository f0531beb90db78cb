"""Make the folder of wheels that ``benchmarks/gpu.py`` needs on a GPU machine without a network.

    python benchmarks/wheels.py FOLDER [--there FILE]
    # there, in the checkout, with FOLDER beside it:
    python3 -m pip install --no-index --no-deps --target site FOLDER/*.whl
    PYTHONPATH=site:. python3 benchmarks/gpu.py

The wheels are for Python 3.12 on x86-64 Linux, in the versions of ``constraints.txt``. The machine is taken to have
torch, torchvision, triton, numpy, pillow and OpenCV (see THERE); ``--there`` names a file with the output of
``pip freeze`` on that machine instead, and packages that it lists are not fetched. The folder holds at most LIMIT_MIB.
What cannot be fetched, and what is left out because the benchmark never imports it, is named; the exit status is 1
if anything that is needed is missing.
"""

from __future__ import annotations

import argparse
import email
import re
import subprocess
import sys
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17)] + [
    f"manylinux{name}_x86_64" for name in ("2014", "2010", "1")
]
LIMIT_MIB = 60
WANTED = ("constriction", "ultralytics-opencv-headless", "scikit-image", "threadpoolctl", "psutil", "pyyaml", "rich")
THERE = ("torch", "torchvision", "triton", "numpy", "pillow", "opencv-python-headless", "networkx", "typing-extensions")
UNUSED = {
    "polars": "reads a finished training's table",
    "ultralytics-platform": "uploads to the makers of ultralytics",
    "scipy": "only the photographs in scikit-image's wheel are read",
    "imageio": "only the photographs in scikit-image's wheel are read",
    "tifffile": "only the photographs in scikit-image's wheel are read",
}
"""Packages that others ask for and that the benchmark never imports, each with what it is for."""


@dataclass
class Fetched:
    """What came of fetching: wheels by package, packages that are there already or left out, and failures."""

    wheels: dict[str, Path] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)
    unused: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def mib(self) -> float:
        return sum(path.stat().st_size for path in self.wheels.values()) / 2**20


def fetch(wanted: Sequence[str], folder: Path, *, there: Collection[str], constraints: Path | None) -> Fetched:
    """Fetch ``wanted`` and all that they need into ``folder``, but for what is ``there`` already."""
    done = Fetched()
    waiting = [canonicalize_name(name) for name in wanted]
    while waiting:
        name = waiting.pop(0)
        if name in done.wheels or name in done.missing:
            continue
        if name in there:
            done.there.add(name)
        elif name in UNUSED:
            done.unused.add(name)
        else:
            try:
                done.wheels[name] = download(name, folder, constraints)
            except LookupError as error:
                done.missing[name] = str(error)
            else:
                waiting += needs(done.wheels[name])
    return done


def download(name: str, folder: Path, constraints: Path | None) -> Path:
    """Fetch one wheel with pip; LookupError with pip's last line if there is none."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "-d", str(folder)]
    command += ["--python-version", PYTHON, "--implementation", "cp", *(f"--platform={p}" for p in PLATFORMS)]
    command += [f"--constraint={constraints}"] if constraints else []
    done = subprocess.run([*command, name], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
        raise LookupError(lines[-1])
    found = [path for path in folder.glob("*.whl") if canonicalize_name(path.name.split("-")[0]) == name]
    return max(found, key=lambda path: path.stat().st_mtime)


def needs(wheel: Path) -> list[str]:
    """Packages that a wheel asks for on the target, without its extras."""
    with zipfile.ZipFile(wheel) as archive:
        entry = next(n for n in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", n))
        asked = email.message_from_bytes(archive.read(entry)).get_all("Requires-Dist") or []
    target = {
        **default_environment(),
        "python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "platform_machine": "x86_64",
        "platform_system": "Linux", "sys_platform": "linux", "os_name": "posix", "implementation_name": "cpython",
        "platform_python_implementation": "CPython", "extra": "",
    }  # fmt: skip
    parsed = [Requirement(line) for line in asked]
    return [canonicalize_name(r.name) for r in parsed if r.marker is None or r.marker.evaluate(target)]


def listed(freeze: str) -> set[str]:
    """Names of the packages in the output of ``pip freeze``, or of ``pip list``."""
    words = (re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line) for line in freeze.splitlines())
    return {canonicalize_name(word.group()) for word in words if word}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--there", type=Path, default=None, help="pip freeze of the machine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if any(options.folder.iterdir()):
        sys.exit(f"{options.folder} is not empty: two versions of a wheel would stop the installation")
    there = listed(options.there.read_text()) if options.there else set(THERE)
    constraints = Path(__file__).parent.parent / "constraints.txt"
    done = fetch(WANTED, options.folder, there=there, constraints=constraints)
    for path in sorted(done.wheels.values()):
        print(f"{path.stat().st_size / 2**20:6.1f} MiB  {path.name}")
    print(f"{done.mib:6.1f} MiB in all; already there: {', '.join(sorted(done.there)) or 'nothing'}")
    for name in sorted(done.unused):
        print(f"left out: {name} ({UNUSED[name]})")
    for name, reason in sorted(done.missing.items()):
        print(f"MISSING: {name}: {reason}")
    if done.mib > LIMIT_MIB:
        sys.exit(f"{done.mib:.0f} MiB; at most {LIMIT_MIB} are carried: give --there, so that less is fetched")
    if done.missing:
        sys.exit(1)


if __name__ == "__main__":
    main()
