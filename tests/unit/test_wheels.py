"""The folder of wheels for a machine without a network: what it holds, and what it names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, script

wheels = script("wheels")


def make_wheel(
    folder: Path, name: str, needs: tuple[str, ...] = (), *, kilobytes: int = 1, version: str = "1.0"
) -> None:
    """A wheel that pip takes."""
    info = f"{name}-{version}.dist-info"
    asked = "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "#" * 1024 * kilobytes)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{asked}")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, instead of an index."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_needs_are_followed_but_for_what_is_there_or_never_imported(index: Path, tmp_path: Path) -> None:
    make_wheel(
        index, "top", ("low_level>=1", "torch", "polars", 'older; python_version < "3.12"', 'more; extra == "x"')
    )
    make_wheel(index, "low_level", ("top", 'new; python_version >= "3.12" and sys_platform == "linux"'))
    make_wheel(index, "new")
    done = wheels.fetch(["top", "nowhere"], tmp_path / "out", there={"torch"}, constraints=None)
    assert sorted(done.wheels) == ["low-level", "new", "top"]
    assert all(path.is_file() for path in done.wheels.values())
    assert done.there == {"torch"}
    assert done.unused == {"polars"}
    assert list(done.missing) == ["nowhere"]
    assert "nowhere" in done.missing["nowhere"]


def test_names_are_read_from_what_pip_prints() -> None:
    freeze = "torch==2.11.0\nPillow==12.0\nmy.pkg @ file:///x\n# a comment\n-e git+x\nopencv-python-headless 4.13\n"
    assert wheels.listed(freeze) == {"torch", "pillow", "my-pkg", "opencv-python-headless"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "wheels.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ))


def test_what_is_missing_is_named(index: Path, tmp_path: Path) -> None:
    there = tmp_path / "freeze.txt"
    there.write_text("\n".join(f"{name}==1" for name in wheels.WANTED if name != "constriction"))
    done = run(str(tmp_path / "out"), "--there", str(there))
    assert done.returncode == 1
    assert "MISSING: constriction" in done.stdout
    assert "already there: psutil, pyyaml, rich" in done.stdout


def test_a_folder_with_something_in_it_is_refused(index: Path, tmp_path: Path) -> None:
    make_wheel(tmp_path, "older")
    done = run(str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr


def test_more_than_is_carried_is_refused(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = re.search(r"^constriction==(\S+)", (BENCHMARKS.parent / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    make_wheel(index, "constriction", kilobytes=64, version=pinned.group(1))
    there = tmp_path / "freeze.txt"
    there.write_text("\n".join(name for name in wheels.WANTED if name != "constriction"))
    monkeypatch.setattr(wheels, "LIMIT_MIB", 0.01)
    monkeypatch.setattr(sys, "argv", ["wheels.py", str(tmp_path / "out"), "--there", str(there)])
    with pytest.raises(SystemExit, match=r"at most 0\.01 are carried: give --there"):
        wheels.main()
