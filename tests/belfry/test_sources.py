"""Settings from flags, environment and file: who wins, and the one line that each mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from belfry.errors import Wrong
from belfry.sources import read_settings, warnings


def wrong(command: str, flags: dict[str, str], environ: dict[str, str]) -> str:
    with pytest.raises(Wrong) as caught:
        read_settings(command, flags, environ)
    line = str(caught.value)
    assert "\n" not in line
    return line


def file(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "belfry.toml"
    path.write_text(text)
    return {"config": str(path)}


def test_a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default(tmp_path: Path) -> None:
    flags = file(tmp_path, "port = 1\nheartbeat = 10\nsend_rate = 3\n")
    environ = {"BELFRY_PORT": "2", "BELFRY_HEARTBEAT": "20"}
    settings = read_settings("up", flags | {"port": "3"}, environ)
    assert (settings["port"], settings["heartbeat"], settings["send_rate"]) == (3, 20.0, 3.0)
    assert settings["text_chars"] == 4_000
    assert [settings.origins[name].source for name in ("port", "heartbeat", "send_rate", "text_chars")] == [
        "flag", "variable", "file", "default",
    ]  # fmt: skip
    assert settings.given("send_rate")
    assert not settings.given("text_chars")


def test_an_empty_variable_is_not_set() -> None:
    assert read_settings("up", {}, {"BELFRY_PORT": ""})["port"] == 8000


def test_a_file_is_also_named_by_a_variable(tmp_path: Path) -> None:
    path = file(tmp_path, 'first_rooms = ["a", "b"]\nguests = false\n')["config"]
    settings = read_settings("up", {}, {"BELFRY_CONFIG": path})
    assert settings["first_rooms"] == ("a", "b")
    assert settings["guests"] is False


def test_a_key_that_only_another_command_reads_is_no_mistake(tmp_path: Path) -> None:
    assert read_settings("token", file(tmp_path, "send_rate = 3\n"), {}).values.keys() == {"data", "db"}


@pytest.mark.parametrize(
    ("flags", "environ", "line"),
    [
        ({"port": "80a"}, {}, '--port (flag): "80a" does not fit; give a whole number from 0 to 65,535'),
        ({}, {"BELFRY_PORT": "-1"}, 'BELFRY_PORT (variable): "-1" does not fit; give a whole number from 0 to 65,535'),
        ({}, {"BELFRY_GUESTS": "maybe"}, 'BELFRY_GUESTS (variable): "maybe" does not fit; give yes or no'),
        ({"log_format": "xml"}, {}, '--log-format (flag): "xml" does not fit; give one of auto, human, json'),
    ],
)
def test_a_value_that_does_not_fit(flags: dict[str, str], environ: dict[str, str], line: str) -> None:
    assert wrong("up", flags, environ) == line


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("# a\n\nport = 'x'\n", "line 3", '"x" does not fit; give a whole number'),
        ("guests = 1\n", "line 1", '"1" does not fit; give yes or no'),
        ("port = true\n", "line 1", '"true" does not fit'),
        ("first_rooms = 'Lobby'\n", "line 1", '"Lobby" does not fit; give rooms'),
        ("port = 1\nprot = 2\n", "line 2", "is not a setting; did you mean port?"),
        ("send-rate = 2\n", "line 1", "is not a setting; did you mean send_rate?"),
        ("zzzzzz = 2\n", "line 1", "is not a setting; `belfry serve --help` lists them"),
        ("\n[limits]\nsend_rate = 2\n", "line 2", "no table has this name; settings stand at the top"),
        ("secret = 'abc'\n", "line 1", "a secret does not stand in this file; put the secret into"),
        ("port = \n", "line 1, column 8", "not TOML"),
        ("port = 1\nport = 2\n", "line 2", "not TOML"),
    ],
)
def test_what_is_wrong_with_a_file_names_file_and_line(tmp_path: Path, text: str, where: str, what: str) -> None:
    flags = file(tmp_path, text)
    line = wrong("up", flags, {})
    assert f"{flags['config']}, {where}" in line
    assert what in line
    assert "abc" not in line


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert "(flag)" in (line := wrong("up", {"config": str(tmp_path / "no.toml")}, {}))
    assert "No such file" in line
    assert "BELFRY_CONFIG (variable)" in wrong("up", {}, {"BELFRY_CONFIG": str(tmp_path)})
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    assert "not UTF-8" in wrong("up", {"config": str(tmp_path / "latin.toml")}, {})
    (tmp_path / "large.toml").write_bytes(b"#" * 1_100_000)
    assert "larger than 1 MB" in wrong("up", {"config": str(tmp_path / "large.toml")}, {})


@pytest.mark.parametrize("source", ["flag", "variable", "file"])
def test_what_a_command_cannot_be_told_is_explained_whatever_the_source(tmp_path: Path, source: str) -> None:
    def told(name: str, value: str) -> tuple[dict[str, str], dict[str, str]]:
        if source == "flag":
            return {name: value}, {}
        if source == "variable":
            return {}, {f"BELFRY_{name.upper()}": value}
        return file(tmp_path, f'{name} = "{value}"\n'), {}

    assert "`belfry serve` takes --db" in wrong("up", *told("db", "sqlite:///x"))
    assert "`belfry serve` takes --bus" in wrong("up", *told("bus", "memory:"))
    assert "`belfry up` takes --data" in wrong("serve", *told("data", "x"))


def test_two_databases_by_one_source_contradict_and_by_two_the_stronger_counts() -> None:
    line = wrong("doctor", {"data": "x", "db": "sqlite:///y"}, {})
    assert line == "--data (flag) and --db (flag) name two databases; give one of them"
    settings = read_settings("doctor", {"db": "sqlite:///y"}, {"BELFRY_DATA": "x"})
    assert (settings["db"], settings.given("data")) == ("sqlite:///y", False)
    settings = read_settings("doctor", {"data": "x"}, {"BELFRY_DB": "sqlite:///y"})
    assert (settings["db"], settings["data"]) == (None, Path("x"))


def test_a_password_is_not_repeated() -> None:
    line = wrong("serve", {"db": "postgres://belfry:hunter2@host/name"}, {})
    assert "hunter2" not in line
    assert "give sqlite:///" in line


def test_unknown_variables_are_told_and_known_ones_are_not() -> None:
    environ = {
        "BELFRY_PROT": "1",
        "BELFRY_FOOBAR": "1",
        "BELFRY_PORT": "1",
        "BELFRY_SECRET": "s",
        "BELFRY_SECRET_FILE": "f",
        "BELFRY_CONFIG": "c",
        "PATH": "/bin",
    }
    assert warnings(environ) == [
        "BELFRY_FOOBAR (variable) is not a setting and is ignored",
        "BELFRY_PROT (variable) is not a setting and is ignored; did you mean BELFRY_PORT?",
    ]


@given(st.text(), st.sampled_from(["port", "host", "origins", "heartbeat", "public_url"]))
def test_any_text_is_taken_or_told_in_one_line(text: str, name: str) -> None:
    line = ""
    try:
        read_settings("up", {name: text}, {})
    except Wrong as wrong:
        line = str(wrong)
    assert len(line.splitlines()) <= 1
    assert not line or line.startswith(f"--{name.replace('_', '-')} (flag): ")
