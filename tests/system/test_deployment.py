"""The deployment example as its unit files start it, on the loopback interface, against the simulation."""

from __future__ import annotations

import shlex
import string
from dataclasses import replace
from pathlib import Path
from subprocess import run

import psutil
import pytest
import yaml
from camera_folders import FRAMES, write_camera_folder
from federation import Federation
from flwr.app import Context, RecordDict
from tiny_scenario import TINY

from rinr_flower.errors import RinrError
from rinr_flower.messages.key_files import load_device_keys
from rinr_flower.report import RunRecord
from rinr_flower.simulations.deployment import open_device
from rinr_flower.simulations.fleet import equip, shares_of
from rinr_flower.simulations.run_folder import RunFolder
from rinr_flower.simulations.runner import run_equipped
from rinr_flower.simulations.scenario import load_scenario

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "deployment"
SMALL = {
    **TINY,
    "codec": "scene",
    "data": "sample:sequences=3,frames=12,width=96,height=64",
    "frames_per_clip": 4,
    "holdout": 4,
    "timeout_s": 120,
}


def test_three_real_devices_share_the_same_bytes_as_three_simulated_ones(tmp_path: Path) -> None:
    scenario = load_scenario("default", {**SMALL, "out": str(tmp_path / "simulated")})
    shares = [
        replace(
            share,
            name=f"camera-{i}",
            captures=tuple((replace(clip, name=FRAMES),) for (clip,) in share.captures),
        )
        for i, share in enumerate(shares_of(scenario), start=1)
    ]
    frames = {share.name: write_camera_folder(tmp_path / "cameras" / share.name, share) for share in shares}
    out = tmp_path / "deployed"
    replace(scenario, classes=list(shares[0].held_back[0].class_names), data="unused", out=str(out)).save(
        tmp_path / "fog.yaml"
    )
    with Federation(tmp_path / "federation", frames, frames_per_clip=4) as started:
        started.await_end(started.run({"scenario": str(tmp_path / "fog.yaml"), "out": str(out)}), 450)
    assert not _processes_of(tmp_path)

    deployed = RunRecord.load(out)
    folder = RunFolder.create(scenario.out)
    simulated = run_equipped(scenario, folder, equip(shares, folder.devices), lambda what, done: None)
    assert not deployed.failures
    assert [(p.round, p.device) for p in deployed.payloads] == [(r, f"camera-{i}") for r in (1, 2) for i in (1, 2, 3)]
    assert _names(out / "payloads") == _names(folder.path / "payloads")
    assert len(_names(out / "payloads")) == 6
    assert _names(out / "captures") == _names(folder.path / "captures")
    assert _rows(deployed) == _rows(simulated)
    assert [p.frame_db for p in deployed.payloads] == [p.frame_db for p in simulated.payloads]
    trained = {(a.round, a.device): a.trained_frames for a in deployed.accuracy if a.round}
    assert trained == {(r, f"camera-{i}"): r * 3 * 4 for r in (1, 2) for i in (1, 2, 3)}
    assert (out / "report.html").stat().st_size > 10_000


def test_the_containers_run_what_the_unit_files_run() -> None:
    services = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["services"]
    for name in ("superlink", "superexec", "supernode"):
        unit = (EXAMPLE / "systemd" / f"rinr-{name}.service").read_text().replace("\\\n", " ")
        (command,) = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
        assert shlex.split(services[name]["command"]) == shlex.split(command)
        assert services[name]["restart"] == "always"
        assert "Restart=always" in unit
        assert services[name]["environment"].items() <= _environment(unit).items() | {("GOMP_SPINCOUNT", "1000")}
        stated = [line for env in EXAMPLE.glob("systemd/*.env") for line in env.read_text().splitlines()]
        known = {line.partition("=")[0] for line in stated}
        assert set(string.Template(command).get_identifiers()) <= known


def test_the_scenario_of_the_example_can_run() -> None:
    scenario = load_scenario(EXAMPLE / "fog.yaml")
    assert scenario.classes
    assert scenario.min_devices < scenario.num_clients


def test_keys_are_added_for_new_devices_and_kept_for_old_ones(tmp_path: Path) -> None:
    command = [str(EXAMPLE / "make_keys.sh"), str(tmp_path / "keys"), "fog.example.org"]
    run([*command, "camera-1"], check=True, timeout=60)
    first = {path: path.read_bytes() for path in (tmp_path / "keys").rglob("*") if path.is_file()}
    run([*command, "camera-2"], check=True, timeout=60)
    kept = {path: path.read_bytes() for path in first}
    assert {path.name for path in first if kept[path] != first[path]} == {"devices.pub"}
    assert set(load_device_keys(tmp_path / "keys" / "fog" / "devices.pub")) == {"camera-1", "camera-2"}
    for path in first:
        if path.suffix not in (".pub", ".crt"):
            assert path.stat().st_mode & 0o077 == 0, f"{path} can be read by others"
    assert run([*command, "../up"], check=False, capture_output=True, timeout=60).returncode == 2


def test_the_certificate_holds_every_name_or_the_script_says_how_to_make_a_new_one(tmp_path: Path) -> None:
    script, keys = str(EXAMPLE / "make_keys.sh"), tmp_path / "keys"
    run([script, str(keys), "fog.example.org 192.0.2.10 fe80::1", "camera-1"], check=True, timeout=60)
    shown = ["openssl", "x509", "-in", str(keys / "fog/server.crt"), "-noout", "-ext", "subjectAltName"]
    text = run(shown, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "DNS:fog.example.org, IP Address:192.0.2.10, IP Address:FE80:0:0:0:0:0:0:1" in text
    run([script, str(keys), "fe80::1 fog.example.org", "camera-1"], check=True, timeout=60)
    other = [script, str(keys), "fog.example.org fog.example.com", "camera-1"]
    refused = run(other, check=False, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2
    assert f"'fog.example.com' is not in {keys}/fog/server.crt; for a new certificate delete" in refused.stderr
    (keys / "fog/server.crt").unlink()
    run(other, check=True, timeout=60)
    assert "DNS:fog.example.com" in run(shown, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"frames": "x", "state": "y"}, "lacks name"),
        ({"name": "a", "frames": "x", "state": "y", "held_bck": 3}, "held_bck"),
        ({"name": "a", "frames": "x", "state": "y", "key": "device"}, "fog-key"),
        ({"name": "a", "frames": "not-there", "state": "y"}, "not-there"),
        ({"name": "a", "frames": ".", "state": "y", "key": "no-key", "fog-key": "no.pub"}, "no-key"),
        ({"name": "a", "frames": ".", "state": "y", "budget-mib": 0}, "budget"),
    ],
)
def test_a_mistake_in_the_node_config_is_named(config: dict[str, str | int], text: str) -> None:
    with pytest.raises(RinrError, match=text):
        open_device(Context(run_id=1, node_id=2, node_config=config, state=RecordDict(), run_config={}))


def _environment(unit: str) -> dict[str, str]:
    (line,) = [line for line in unit.splitlines() if line.startswith("Environment=")]
    return dict(word.split("=", 1) for word in line.removeprefix("Environment=").split())


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _rows(record: RunRecord) -> list[tuple[int, str, str, str, str, int]]:
    rows = [e for e in record.ledger if e.kind in ("upload", "payload")]
    return sorted((e.round, e.source, e.destination, e.kind, e.content, e.payload_bytes) for e in rows)


def _processes_of(folder: Path) -> list[str]:
    """Command lines of processes that were started for a federation under ``folder``."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([*process.cmdline(), process.environ().get("FLWR_HOME", "")]):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found
