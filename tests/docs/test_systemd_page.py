"""docs/how-to/systemd.md and deploy.md: their units, checked by systemd itself; the words to it are in test_notify."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from belfry.cli import COMMANDS
from belfry.files import OWN_FILES
from belfry.flags import parse
from belfry.sources import read_settings, warnings
from belfry.supervisor.supervisor import KILL_AFTER
from belfry.up import LATE
from chat.config import Config
from tests.docs.page import block

PAGE = "how-to/systemd.md"
FLEET = block(PAGE, "ini")
SINGLE = block("how-to/deploy.md", "ini")
UNITS = {"belfry.service": FLEET, "belfry-single.service": SINGLE}
SERVICES = [FLEET, SINGLE]


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def value(unit: str, key: str) -> str:
    (one,) = values(unit, key)
    return str(one)


def written(folder: Path, name: str) -> Path:
    """The unit as a file, its program where this machine has it."""
    path = folder / name
    path.write_text(UNITS[name].replace("/opt/belfry/bin/belfry", str(Path(sys.executable).parent / "belfry")))
    return path


@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_nothing_to_say_against_it(tmp_path: Path, name: str) -> None:
    for one in UNITS:
        written(tmp_path, one)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / name], capture_output=True, text=True, timeout=60.0
    )
    # It also loads what is ordered before, so this machine's own units may have faults.
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line or "belfry" in line] == []


def test_the_fleet_may_little(tmp_path: Path) -> None:
    path = written(tmp_path, "belfry.service")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", "--no-pager", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60.0)
    assert done.returncode == 0, done.stdout[-300:]


@pytest.mark.parametrize("unit", SERVICES)
def test_the_numbers_fit_the_server(unit: str) -> None:
    assert float(value(unit, "TimeoutStopSec")) >= Config().drain_deadline + KILL_AFTER > Config().drain_deadline + LATE
    assert int(value(unit, "LimitNOFILE")) >= Config().limits.connections + OWN_FILES
    assert value(unit, "Type") == "notify"


@pytest.mark.parametrize("unit", SERVICES)
def test_the_command_and_its_variables_are_known(unit: str) -> None:
    environ = dict(text.split("=", 1) for text in values(unit, "Environment"))
    assert warnings(environ) == []
    _, name, *rest = shlex.split(value(unit, "ExecStart").replace("%H", "host"))
    (command,) = [one for one in COMMANDS if one.name == name]
    flags = parse(name, command.own, rest)
    assert flags is not None
    assert read_settings(name, flags, {})["ports"] in ((8000,), (8001, 8002))
    assert value(unit, "ExecReload") == "/bin/kill -HUP $MAINPID"
    assert value(unit, "KillMode") == "process"


def test_the_settings_are_known(tmp_path: Path) -> None:
    text = block(PAGE, "toml")
    (tmp_path / "settings.toml").write_text(text)
    settings = read_settings("serve", {"config": str(tmp_path / "settings.toml")}, {})
    assert settings["bus"] == tomllib.loads(text)["bus"]
    assert settings["first_rooms"] == ("lobby",)
