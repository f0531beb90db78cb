"""The deployment example on the loopback interface: what its unit files start, under one folder.

Keys come from ``examples/deployment/make_keys.sh``, commands, environment and restart times from the unit files beside
it. Only the three folders that the unit files name, the ports and the frames are this machine's own.
"""

from __future__ import annotations

import configparser
import json
import os
import shlex
import signal
import socket
import ssl
import string
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
from forwarder import Forwarder

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment"
PROGRAMS = Path(sys.executable).parent
POLL_S = 4.0  # between two flwr commands that ask how far something is: each takes half a second of processor time


class Service:
    """A unit file's process, started again after ``RestartSec`` whenever it ends, as systemd would.

    Parameters
    ----------
    unit : name of a unit file of the example.
    folder : ``etc`` in it stands for /etc/rinr-flower, ``var`` for /var/lib/rinr-flower; the output goes to ``log``.
    environment : put over the unit's ``EnvironmentFile``.
    """

    def __init__(self, unit: str, folder: Path, environment: Mapping[str, str]) -> None:
        section = _section(unit, folder)
        stated = _assignments((EXAMPLE / "systemd" / Path(section["EnvironmentFile"]).name).read_text())
        stated |= dict(word.split("=", 1) for word in shlex.split(section["Environment"]))
        self._environment = {**os.environ, **stated, **environment}
        words = shlex.split(section["ExecStart"].replace("\\\n", " "))
        self._command = [string.Template(word).substitute(self._environment) for word in words]
        self._pause_s = float(section["RestartSec"])
        self._folder = folder
        self._stopping = threading.Event()
        self._process = self._launch()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self.starts = 1

    @property
    def log(self) -> Path:
        """Everything that its processes wrote."""
        return self._folder / f"{Path(self._command[0]).name}.log"

    def kill(self) -> None:
        """End it and all its children at once, as a power failure would."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self, seconds: float = 20) -> None:
        """End it for good, gracefully if it does so in time, and leave none of its children."""
        self._stopping.set()
        family = _family(self._process.pid)
        if self._process.poll() is None:
            self._process.terminate()
        self._keeper.join(seconds)
        for process in family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._keeper.join()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as output:
            return subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _keep(self) -> None:
        while True:
            self._process.wait()
            if self._stopping.wait(self._pause_s):
                return
            self._process = self._launch()
            self.starts += 1


class Federation:
    """One fog machine and its devices, as a context: everything is up at its beginning, and nothing is left at its end.

    Parameters
    ----------
    folder : takes all that is written.
    frames : every device's folder of frames, by the device's name.
    frames_per_clip : how many of them are a round's capture.
    counted : put a counting forwarder between each device and the SuperLink: ``wires``, by the device's name.
    """

    def __init__(
        self, folder: Path, frames: Mapping[str, Path], *, frames_per_clip: int, counted: bool = False
    ) -> None:
        self.folder = folder
        self.frames = dict(frames)
        self.frames_per_clip = frames_per_clip
        self.port = _free_port()
        self.services: dict[str, Service] = {}
        self.wires = {name: Forwarder(self.port) for name in frames} if counted else {}

    def __enter__(self) -> Federation:
        try:
            self._equip()
            self.services["superlink"] = Service(
                "rinr-superlink.service", self._machine("fog"), {"HOST": "127.0.0.1", "PORT": str(self.port)}
            )
            self.await_superlink()
            self.services["superexec"] = Service(
                "rinr-superexec.service", self._machine("fog"), {"PORT": str(self.port)}
            )
            for name in self.frames:
                self.flwr("supernode", "register", str(self._keys / "fog" / "nodes" / f"{name}.pub"), "fog")
            for name in self.frames:
                self.start_device(name)
            self.await_online(len(self.frames))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Devices first: a SuperLink waits half a minute for those that are connected."""
        order = [*self.frames, "superexec", "superlink"]
        ending = [threading.Thread(target=self.services[name].stop) for name in self.frames if name in self.services]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()
        for name in order:
            if name in self.services and name not in self.frames:
                self.services[name].stop()
        self.services.clear()
        for wire in self.wires.values():
            wire.close()
        self.wires.clear()

    def start_device(self, name: str) -> None:
        """Start a device's SuperNode."""
        port = self.wires[name].port if name in self.wires else self.port
        self.services[name] = Service(
            "rinr-supernode.service",
            self._machine(name),
            {
                "SUPERLINK": f"127.0.0.1:{port}",
                "DEVICE": name,
                "FRAMES": str(self.frames[name]),
                "FRAMES_PER_CLIP": str(self.frames_per_clip),
                "LOCAL_PORT": str(_free_port()),
            },
        )

    def await_superlink(self, seconds: float = 180) -> None:
        """Return when the SuperLink answers; TimeoutError if it does not."""
        trust = ssl.create_default_context(cafile=str(self._keys / "fog" / "ca.crt"))
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"https://127.0.0.1:{self.port}/health", timeout=2, context=trust):
                    return
            except OSError:
                time.sleep(0.2)
        raise TimeoutError(f"the SuperLink does not answer; see {self.services['superlink'].log}")

    def await_online(self, count: int, seconds: float = 300) -> None:
        """Return when ``count`` devices are connected; TimeoutError if they are not."""
        end = time.monotonic() + seconds
        while (online := len(self.online())) < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{online} of {count} devices are connected; see the logs in {self.folder}")
            time.sleep(POLL_S)

    def online(self) -> list[str]:
        """Ids of the nodes that are connected."""
        nodes = json.loads(self.flwr("supernode", "list", "fog", "--format", "json"))["nodes"]
        return [str(node["node-id"]) for node in nodes if node["status"] == "online"]

    def run(self, config: Mapping[str, str]) -> str:
        """Submit the example's app; the run's id."""
        keys = {"fog-key": self._keys / "fog" / "fog", "device-keys": self._keys / "fog" / "devices.pub"}
        settings = " ".join(f"{key}={json.dumps(str(value))}" for key, value in {**keys, **config}.items())
        answer = self.flwr("run", str(EXAMPLE), "fog", "--run-config", settings, "--format", "json")
        return str(json.loads(answer)["run-id"])

    def status(self, run: str) -> str:
        """For example ``running`` or ``finished:completed``."""
        return str(self._facts(run)["status"])

    def await_end(self, run: str, seconds: float) -> None:
        """Return when the run has ended well; RuntimeError with its log if not, TimeoutError if it goes on."""
        end = time.monotonic() + seconds
        while not (status := self.status(run)).startswith("finished"):
            if time.monotonic() > end:
                raise TimeoutError(f"run {run} is still {status}:\n{self.flwr('log', run, 'fog', '--show')}")
            time.sleep(POLL_S)
        if status != "finished:completed":
            raise RuntimeError(f"run {run} is {status}:\n{self.flwr('log', run, 'fog', '--show')}")

    def flwr(self, *words: str) -> str:
        """Run a ``flwr`` command of the operator; returns its output."""
        done = subprocess.run(
            [PROGRAMS / "flwr", *words],
            env=self._operator,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"flwr {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def _keys(self) -> Path:
        return self.folder / "keys"

    @property
    def _operator(self) -> dict[str, str]:
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        return {**os.environ, **quiet, "FLWR_HOME": str(self.folder / "operator")}

    def _equip(self) -> None:
        """Keys, and the operator's connection."""
        subprocess.run([EXAMPLE / "make_keys.sh", self._keys, "127.0.0.1", *self.frames], check=True, timeout=60)
        home = self.folder / "operator"
        home.mkdir()
        text = (EXAMPLE / "config.toml").read_text().replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        (home / "config.toml").write_text(text.replace("/etc/rinr-flower", str(self._keys / "fog")))

    def _machine(self, name: str) -> Path:
        """The folder that stands for a machine's disk."""
        machine = self.folder / name
        if not machine.exists():
            (machine / "var").mkdir(parents=True)
            (machine / "etc").symlink_to(self._keys / name)
        return machine

    def _facts(self, run: str) -> dict[str, Any]:
        (facts,) = json.loads(self.flwr("list", "--run-id", run, "fog", "--format", "json"))["runs"]
        return dict(facts)


def _section(unit: str, folder: Path) -> configparser.SectionProxy:
    """The ``[Service]`` section, with this machine's folders."""
    text = (EXAMPLE / "systemd" / unit).read_text()
    for stated, here in (
        ("/etc/rinr-flower", folder / "etc"),
        ("/var/lib/rinr-flower", folder / "var"),
        ("/opt/rinr-flower/bin", PROGRAMS),
    ):
        text = text.replace(stated, str(here))
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(text)
    return parser["Service"]


def _assignments(text: str) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
