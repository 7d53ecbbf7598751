"""The services start from nothing, keep their data through kill -9, and are gone with whoever started them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compose.services import Kafka, Mariadb, Mysql, ServiceError, kafka
from compose.services.cache import cached, need

ROOT = Path(__file__).resolve().parents[2]
WAIT = 60.0  # seconds no step comes near to

STARTS_ONE = """
import sys, pathlib, time
from compose.services import Mariadb
service = Mariadb(pathlib.Path(sys.argv[1]))
service.start()
print(service.pid, flush=True)
time.sleep(600)
"""


def answers(port: int) -> bool:
    """Whether something greets there, as databases do, or takes the connection and waits, as Kafka does."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.5) as asked:
            asked.settimeout(0.5)
            return asked.recv(1) != b""
    except TimeoutError:
        return True
    except OSError:
        return False


@pytest.mark.parametrize("kind", [Mysql, Mariadb, Kafka])
def test_it_starts_from_nothing_and_again_after_a_kill(kind: type[Mysql | Mariadb | Kafka], tmp_path: Path) -> None:
    with kind(tmp_path / "a directory") as service:
        assert answers(service.port)
        assert str(service.port) in service.url
        first = service.pid
        service.kill()
        assert not service.is_running
        assert not answers(service.port)
        service.start()
        assert service.is_running
        assert service.pid != first
        assert answers(service.port)
        with pytest.raises(ServiceError, match="runs already"):
            service.start()
    assert not answers(service.port)


@pytest.mark.parametrize("kind", [Mysql, Mariadb])
def test_a_database_that_starts_leaves_the_temporary_tables_of_others(
    kind: type[Mysql | Mariadb], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybodys = tmp_path / "tmp of all"
    everybodys.mkdir()
    monkeypatch.setenv("TMPDIR", str(everybodys))
    table = [everybodys / f"#sql-temptable-1e4a-1-1d.{suffix}" for suffix in ("MAI", "MAD", "frm")]
    for file in table:
        file.touch()
    with kind(tmp_path / "its own"):
        assert all(file.exists() for file in table)


def mapped(pid: int) -> set[str]:
    """The files that a process has in its memory."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if line.count("/")}


def test_a_broker_begins_with_classes_that_were_recorded(tmp_path: Path) -> None:
    java = Path(need("java", "default-jre-headless", "Java")).resolve().parents[1]
    own = java / "lib" / "server" / "classes.jsa"  # what Java records of itself; a record of ours stands on that one
    with Kafka(tmp_path) as service:
        assert (str(kafka.recorded_classes()) in mapped(service.pid)) == own.exists()


def test_a_record_of_classes_that_is_no_good_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "classes.jsa"
    record.write_bytes(b"no such thing\n" * 1_000)
    monkeypatch.setattr(kafka, "recorded_classes", lambda: record)
    with Kafka(tmp_path / "kafka") as service:
        assert answers(service.port)
        assert str(record) not in mapped(service.pid)


def test_a_paused_one_says_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    with Mariadb(tmp_path) as service:
        service.pause()
        with socket.create_connection(("127.0.0.1", service.port), 5.0) as asked:
            asked.settimeout(0.2)
            with pytest.raises(TimeoutError):
                asked.recv(1)
            service.resume()
            asked.settimeout(WAIT)
            assert asked.recv(1) != b""
        service.pause()  # and stopping it then does not hang


def test_one_that_cannot_start_says_why(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServiceError, match=r"(?s)mariadb ended with 1 at its start.*Address already in use"):
            Mariadb(tmp_path, port).start()


def test_it_is_gone_with_whoever_started_it(tmp_path: Path) -> None:
    program = [sys.executable, "-c", STARTS_ONE, str(tmp_path)]
    with subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        os.kill(pid, 0)
        starter.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + WAIT
    while Path(f"/proc/{pid}").exists() and "State:\tZ" not in Path(f"/proc/{pid}/status").read_text():
        assert time.monotonic() < deadline, f"{pid} still runs"
        time.sleep(0.05)


def test_the_command_tells_the_addresses_and_stops_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "compose.services", "run", "--only", "mariadb", "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        told = ""
        while "Ctrl-C" not in told:
            line = running.stdout.readline()
            assert line, "it ended too soon"
            told += line
        running.send_signal(signal.SIGINT)
        _, progress = running.communicate(timeout=WAIT)
    port = int((tmp_path / "mariadb.port").read_text())
    assert f"mysql://belfry:belfry@127.0.0.1:{port}/belfry" in told
    assert running.returncode == 0
    assert "mariadb" in progress
    assert not answers(port)


def test_one_that_is_killed_comes_back_and_the_others_stay(tmp_path: Path) -> None:
    short = "import sys, compose.services.__main__ as it; it.AWAY = 0.2; sys.exit(it.main())"
    command = [sys.executable, "-c", short, "run", "--only", "mariadb", "kafka", "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        while "Ctrl-C" not in running.stdout.readline():
            assert running.poll() is None
        threads = Path(f"/proc/{running.pid}/task").iterdir()
        pids = [int(pid) for thread in threads for pid in (thread / "children").read_text().split()]
        (broker,) = [pid for pid in pids if b"java" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(broker, signal.SIGKILL)
        told = ""
        while "ready again" not in told:
            line = running.stderr.readline()
            assert line, told
            told += line
        assert "kafka has ended, and is started again" in told
        for name in ("mariadb", "kafka"):
            assert answers(int((tmp_path / f"{name}.port").read_text()))
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=WAIT)
    assert running.returncode == 0


def test_a_download_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def breaks(directory: Path) -> None:
        (directory / "half").touch()
        raise ServiceError("the line went dead")

    with pytest.raises(ServiceError, match="went dead"):
        cached("thing", breaks)
    assert not list((tmp_path / "belfry" / "services").glob("thing*/*"))
    made = cached("thing", lambda directory: (directory / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
    assert cached("thing", breaks) == made
