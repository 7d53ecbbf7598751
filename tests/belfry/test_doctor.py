"""Each check finds what it is for, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from belfry import doctor
from belfry.database import Place, place_of, run_migrate
from belfry.files import OWN_FILES
from belfry.listen import bind
from belfry.secret import made_secret
from belfry.sources import Settings, read_settings
from db.lock import DirectoryLock

if TYPE_CHECKING:
    from pathlib import Path

DAY = 86_400.0
NOW = 1_800_000_000.0  # 2027


def told(data: Path, **flags: str) -> Settings:
    return read_settings("doctor", {"data": str(data), "port": "0"} | flags, {})


LONG = "x" * 300  # what may not even be asked for, as what is behind a directory that may not be entered


def test_open_files() -> None:
    assert doctor.files(10_000, 10_000 + OWN_FILES).level == "ok"
    assert doctor.files(10_000, None).level == "ok"
    short = doctor.files(10_000, 10_000)
    assert short.level == "fail"
    assert f"ulimit -Hn {10_000 + OWN_FILES}" in short.do
    assert doctor.files(0, 10_000).level == "warn"


class Clocks:
    """A wall clock and a steady one, of which the first may jump while one sleeps."""

    def __init__(self, wall: float, jump: float = 0.0) -> None:
        self.wall, self.steady, self.jump = wall, 0.0, jump

    def check(self) -> doctor.Check:
        return doctor.clock(lambda: self.wall, lambda: self.steady, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.steady += seconds
        self.wall += seconds + self.jump


def test_clock() -> None:
    assert Clocks(NOW).check().level == "ok"
    assert Clocks(0.0).check().level == "fail"
    assert Clocks(NOW, jump=3.0).check().level == "warn"
    assert Clocks(NOW, jump=-3.0).check().level == "warn"


@pytest.mark.parametrize(("free", "level"), [(2**20, "fail"), (500 * 2**20, "warn"), (2**40, "ok")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, level: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**41, 2**41 - free, free))
    assert doctor.disk(tmp_path / "not" / "yet", made=True).level == level
    assert doctor.disk(tmp_path, made=False).level == level


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    for name in ("file", "loop"):
        check = doctor.disk(tmp_path / name, made=True)
        assert (check.level, check.says) == ("fail", f"{tmp_path / name} is not a directory")
    check = doctor.disk(tmp_path / "not", made=False)
    assert (check.level, check.says, check.do) == ("fail", f"{tmp_path / 'not'} does not exist", "create it")
    place = Place(tmp_path / LONG / "belfry.db", "--data (flag)", made=True)
    assert doctor.disk(place.directory, made=True).level == "ok"
    for check in (doctor.durability(place), doctor.schema(place)):
        assert (check.level, "File name too long" in check.says) == ("fail", True)


@pytest.mark.parametrize(
    ("kind", "level"), [("ext4", "ok"), ("tmpfs", "fail"), ("nfs4", "fail"), ("overlay", "warn"), ("xfs", "ok")]
)
def test_file_system(tmp_path: Path, kind: str, level: str) -> None:
    (tmp_path / "my data").mkdir()
    mounts = tmp_path / "mountinfo"
    point = f"{tmp_path}/my\\040data"
    mounts.write_text(
        "22 1 254:0 / / rw - ext4 /dev/root rw\n"
        f"23 22 0:21 / {point} rw,relatime shared:5 - {kind} none rw\n"
        "24 22 0:22 / /elsewhere rw - proc proc rw\n"
    )
    assert doctor.file_system(tmp_path / "my data", mounts).level == level
    assert doctor.file_system(tmp_path, mounts).level == "ok"
    assert doctor.file_system(tmp_path, tmp_path / "missing").level == "warn"


def test_durability_is_what_a_server_would_have(tmp_path: Path) -> None:
    place = place_of(told(tmp_path))
    assert "no database" in doctor.durability(place).says
    run_migrate(read_settings("db", {"data": str(tmp_path)}, {}))
    check = doctor.durability(place)
    assert check.level == "ok"
    assert "journal_mode wal, synchronous FULL" in check.says


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "belfry.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    before = (tmp_path / "belfry.db").read_bytes()
    place = place_of(told(tmp_path))
    assert doctor.durability(place).level == "fail"
    assert doctor.schema(place).level == "fail"
    assert (tmp_path / "belfry.db").read_bytes() == before


def test_schema(tmp_path: Path) -> None:
    place = place_of(told(tmp_path / "data"))
    assert doctor.schema(place).level == "ok"
    run_migrate(read_settings("db", {"data": str(tmp_path / "data")}, {}))
    assert "up to date" in doctor.schema(place).says


def test_secrets(tmp_path: Path) -> None:
    def check(environ: dict[str, str], **flags: str) -> doctor.Check:
        settings = read_settings("doctor", flags or {"data": str(tmp_path)}, {})
        (found,) = doctor.secrets(settings, environ)
        return found

    assert check({}).level == "ok"
    assert check({}, db="sqlite:///x").level == "fail"
    assert check({"BELFRY_SECRET": "short"}).level == "fail"
    weak = check({"BELFRY_SECRET": "changeme" * 8})
    assert weak.level == "fail"
    assert "changeme" not in weak.says
    made_secret(tmp_path)
    assert check({}).level == "ok"
    os.chmod(tmp_path / "secret", 0o644)
    assert check({}).level == "warn"
    assert "chmod 600" in check({}).do


def test_port(tmp_path: Path) -> None:
    place = place_of(told(tmp_path))
    assert doctor.port("127.0.0.1", 0, place).level == "ok"
    (listener,) = bind("127.0.0.1", 0)
    number = listener.getsockname()[1]
    with listener:
        assert doctor.port("127.0.0.1", number, place).level == "fail"
        with DirectoryLock.take(tmp_path):
            assert doctor.port("127.0.0.1", number, place).level == "ok"
    assert doctor.port("127.0.0.1", number, place).level == "ok"


def test_the_verdict_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run_doctor(told(tmp_path, connections="10"), {}, as_json=True) in (0, 1)
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] == all(check["level"] != "fail" for check in report["checks"])
    assert {check["name"] for check in report["checks"]} == {
        "open files", "clock", "disk", "file system", "durability", "schema", "secret", "port",
    }  # fmt: skip
    environ = {"BELFRY_SECRET": "a" * 40}
    assert doctor.run_doctor(told(tmp_path), environ, as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    (bad,) = [line for line in lines if "secret" in line]
    assert bad.startswith("fail")
    assert "openssl rand" in bad
