"""The command line as a whole: the right command, one line for every mistake, the exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from belfry import __version__
from belfry.cli import COMMANDS, main

if TYPE_CHECKING:
    from pathlib import Path


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("belfry: ")
    return err.removeprefix("belfry: ").rstrip()


def test_help_fits_a_screen_and_shows_what_people_do_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    first = text.partition("What people do first:\n")[2].splitlines()[:3]
    assert [line.split()[1] for line in first] == ["up", "token", "doctor"]
    for command in COMMANDS:
        assert re.search(rf"\b{command.name}\b", text.partition("Commands:\n")[2])


def test_nothing_said_is_helped_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: belfry" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_version(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    assert capsys.readouterr().out == f"belfry {__version__}\n"


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command.split(), "--help"]) == 0
    about = " ID" if command in ("cordon", "uncordon", "drain", "abort", "kick") else ""
    assert capsys.readouterr().out.startswith(f"usage: belfry {command}{about} [flags]\n")


def test_a_command_of_verbs_tells_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "--help"]) == 0
    assert "db migrate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["srve"], '"srve" (argument) is no command; did you mean serve?'),
        (["zzz"], '"zzz" (argument) is no command; there are up, serve, fleet, tower, '),
        (["tower"], "`belfry tower` needs --bus"),
        (["tower", "--bus", "memory:"], "a tower in a process of its own hears nothing on a bus inside it"),
        (["tower", "--bus", "kafka://h"], "no secret is set"),
        (["tower", "--data", "x"], "`belfry tower` takes --bus URL and --db URL"),
        (["rollout"], "`belfry rollout` needs a verb: `belfry rollout status`"),
        (["--port", "1"], "--port (flag) stands before the command"),
        (["db"], "`belfry db` needs a verb: `belfry db migrate` or `belfry db status`"),
        (["db", "migrat"], "did you mean migrate?"),
        (["up", "--prot=1"], "did you mean --port?"),
        (["up", "--port", "x"], '--port (flag): "x" does not fit'),
        (["up", "--db", "sqlite:///x"], "`belfry serve` takes --db"),
        (["serve"], "`belfry serve` needs --db"),
        (["serve", "--db", "sqlite:///x"], "`belfry serve` needs --bus"),
        (["serve", "--db", "sqlite:///x", "--bus", "memory:"], "no secret is set"),
        (["serve", "--db", "mysql://u:p@h/n"], "`belfry serve` needs --bus"),
        (["db", "status", "--db", "mysql://u:hunter2@h"], "--db (flag): the MySQL URL must end in one database name"),
        (["serve", "--db", "sqlite:///x", "--bus", "kafka://h:1"], "no secret is set"),
        (["serve", "--bus", "rabbit://h:1"], "kafka://host:port"),
        (["bus"], "`belfry bus` needs a verb: `belfry bus make` or `belfry bus status`"),
        (["bus", "make"], "`belfry bus` needs --bus"),
        (["bus", "status", "--bus", "memory:"], "has nothing to make"),
        (["bus", "make", "--bus", "kafka://h:0"], "--bus (flag): the Kafka URL names a broker that is not host"),
        (["serve", "--secret", "x"], "BELFRY_SECRET"),
        (["serve", "--public-url", "http://h:99999"], '--public-url (flag): "http://h:99999" does not fit; give a URL'),
        (["fleet", "--tower", "http://h:{port}"], "give a URL such as https://tower.example.org, without braces"),
        (["servers", "--tower", "ws://h"], '--tower (flag): "ws://h" does not fit'),
        (["up", "--public-url", "http://h:{port}"], "--public-url (flag): only `belfry fleet` fills {port} in"),
        (["serve", "--db", "sqlite:///x", "--bus", "memory:", "--public-url", "http://h:{port}"], "fills {port} in"),
        (["token"], "needs --user NAME"),
        (["UP"], "did you mean up?"),
        (["cordon", "s1", "s2"], '"s2" (argument) is one too many; `belfry cordon` takes one server'),
        (["kick", "u_ada", "--ban", "u_bob"], '"u_bob" (argument) is one too many; `belfry kick` takes one user'),
        (["db", "status", "--db", "sqlite:////nowhere/b.db"], "the directory /nowhere does not exist; create it"),
        (["db", "status", "--data", "x" * 300], "File name too long"),
        (["token", "--user", "Ada", "--data", "x" * 300], "/secret: File name too long"),
        (["audit", "--clent", "3"], "--clent (flag) is not known; did you mean --clients?"),
        (["audit", "3"], '"3" (argument) is one too many'),
        (["audit", "--clients", "x"], '--clients (flag): "x" does not fit; give a whole number'),
        (["audit", "--clients"], "--clients (flag): expected one argument"),
    ],
)
def test_mistakes(argv: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in refused(capsys, *argv)


def test_help_tells_a_verbs_own_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "status", "--help"]) == 0
    assert "(default http://127.0.0.1:8900)" in " ".join(capsys.readouterr().out.split())


def test_an_unknown_variable_is_a_warning(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELFRY_PROT", "1")
    assert main(["token"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("belfry: warning: BELFRY_PROT (variable) is not a setting")
    assert first.endswith("; did you mean BELFRY_PORT?")
    assert second.startswith("belfry: `belfry token` needs")


def test_a_data_directory_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    line = refused(capsys, "up", "--port", "0", "--data", str(tmp_path / "file"))
    assert line == f"--data (flag): {tmp_path / 'file'} is a file; give a directory"


def test_a_file_that_is_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "belfry.db").write_text("Dear diary, " * 1000)
    assert "is not a SQLite database" in refused(capsys, "db", "status", "--data", str(tmp_path))


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading = f"{sys.executable} -m belfry up --help | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", reading], capture_output=True, text=True, timeout=30)
    assert done.stdout == "usage: belfry up [flags]\n"
    assert done.stderr == ""


def test_a_full_disk_is_one_line() -> None:
    printing = f"{sys.executable} -m belfry --help > /dev/full"
    done = subprocess.run(["bash", "-c", printing], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "belfry: the disk is full; nothing more can be written there\n"


def test_help_needs_no_web_framework() -> None:
    code = (
        "import sys, belfry.cli; belfry.cli.main(['--help']); print({'quart', 'trio', 'structlog'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.endswith("set()\n")


# Ctrl-C while this module is looked for.
INTERRUPTED = """\
import runpy, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
runpy.run_module("belfry", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["belfry.cli", "belfry.flags"])
def test_ctrl_c_is_quiet_while_the_program_is_read(module: str) -> None:
    argv = [sys.executable, "-c", INTERRUPTED, module]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
