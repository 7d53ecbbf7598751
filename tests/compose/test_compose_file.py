"""compose.yaml, the Dockerfile and the files beside them: what can be wrong without running anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from belfry.sources import warnings
from belfry.up import LATE
from chat.config import Config
from compose.services import Kafka
from tests.compose import image
from tests.compose.stack import COMPOSE, FILE, SERVICES, compose, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

BELFRYS = [name for name, service in SERVICES.items() if service["image"] == "belfry"]
SERVERS = [name for name in BELFRYS if SERVICES[name]["command"] == ["serve"]]
BIN = Path(sys.executable).parent


def checked(*argv: str | Path) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60.0)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_is_what_the_compose_specification_allows() -> None:
    checked(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)


def test_the_dockerfile_is_as_hadolint_wants_it() -> None:
    checked(BIN / "hadolint", image.DOCKERFILE)


def test_who_is_waited_for_can_say_that_it_is_there() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, f"{name} waits for {other}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[other]["restart"] == "no"


def test_all_that_is_named_is_there() -> None:
    file = compose()
    made = set(re.findall(r"keep (\S+)", (COMPOSE / "make-secrets").read_text()))
    for name, secret in file["secrets"].items():
        assert Path(secret["file"]).name in made, name
    for service in SERVICES.values():
        assert set(service.get("secrets", [])) <= set(file["secrets"])
        assert set(service["networks"]) <= set(file["networks"])
        for source, _, _ in (volume.partition(":") for volume in service.get("volumes", [])):
            assert (COMPOSE / source).exists() if source.startswith("./") else source in file["volumes"], source
        for text in service.get("environment", {}).values():
            if isinstance(text, str) and text.startswith("/run/secrets/"):
                assert Path(text).name in service["secrets"], text


@pytest.mark.parametrize("name", BELFRYS)
def test_belfrys_own_run_with_little(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert warnings(service["environment"]) == []
    assert not any("secret" in str(text).lower() for text in service["command"])


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_has_the_time_that_its_drain_takes(name: str) -> None:
    service = SERVICES[name]
    assert service["stop_signal"] == image.said("STOPSIGNAL") == "SIGTERM"
    assert seconds(service["stop_grace_period"]) >= Config().drain_deadline + LATE
    assert "BELFRY_DRAIN_DEADLINE" not in service["environment"]
    assert service["ulimits"]["nofile"] >= Config().limits.connections


def test_each_server_has_a_name_and_a_place_before_the_balancer() -> None:
    assert len(SERVERS) == 2
    balancer = (COMPOSE / "haproxy.cfg").read_text()
    placed = re.findall(r"^    server (\S+) (\S+):(\d+)$", balancer, re.MULTILINE)
    assert placed == [(name, name, SERVICES[name]["environment"]["BELFRY_PORT"]) for name in SERVERS]
    assert [SERVICES[name]["environment"]["BELFRY_SERVER_ID"] for name in SERVERS] == SERVERS
    assert {SERVICES[name]["environment"]["BELFRY_PORT"] for name in SERVERS} == {image.said("EXPOSE")}


def test_only_the_balancer_can_be_reached_from_outside() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.keys() == {"balancer", "tower"}
    assert all(port.startswith("127.0.0.1:") for port in published["tower"]), "the tower is for its own machine"


def test_the_image_is_small_and_nobodys() -> None:
    user, _, group = image.said("USER").partition(":")
    assert int(user) > 0, "Kubernetes' runAsNonRoot asks for a number"
    assert int(group) > 0
    assert [rest for name, rest in image.instructions() if name == "COPY"][-1] == "--from=build /opt/belfry /opt/belfry"
    assert [name for name, _ in image.stage(1)].count("RUN") == 0
    assert image.exec_form(image.said("CMD")) == ["--help"]


def copied() -> Iterator[str]:
    for name, rest in image.stage(0):
        if name == "COPY":
            yield from rest.split()[:-1]


def test_the_context_is_what_is_copied_and_no_more() -> None:
    first, *rest = [line for line in (image.ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"]
    assert first == "*"
    assert sorted(rest) == sorted([*(f"!{path}" for path in copied()), "**/__pycache__"])
    for path in copied():
        assert (image.ROOT / path).is_file() or any((image.ROOT / path).rglob("*.py")), (
            f"{path}: git keeps no empty folders"
        )


def test_the_packages_that_are_copied_are_those_that_are_installed() -> None:
    installed = re.search(r"^include = \[(.*)\]$", (image.ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert installed is not None
    names = set(re.findall(r'"(\w+)\*"', installed[1]))
    assert {path for path in copied() if (image.ROOT / path).is_dir()} == {
        name for name in names if any((image.ROOT / name).rglob("*.py"))
    }


def test_kafka_is_the_version_that_the_tests_run() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{Kafka.version}"


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    into = tmp_path / "a folder"
    command = ["sh", COMPOSE / "make-secrets", "chat.example.org"]
    environ = os.environ | {"BELFRY_SECRETS": str(into)}
    first = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60.0)
    made = {path.name: path.read_bytes() for path in into.iterdir()}
    assert set(made) == {Path(secret["file"]).name for secret in compose()["secrets"].values()}
    assert len(first.stdout.splitlines()) == len(made)
    assert into.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in into.iterdir()} == {0o444}
    assert made["mysql_password"].strip() in made["belfry_settings.toml"]
    certificate = x509.load_pem_x509_certificate(made["tls.pem"])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["chat.example.org"]
    (into / "belfry_secret").unlink()
    again = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=60.0)
    assert [line.rpartition("/")[2] for line in again.stdout.splitlines()] == ["belfry_secret"]
    now = {path.name: path.read_bytes() for path in into.iterdir()}
    assert {name for name in now if now[name] != made[name]} == {"belfry_secret"}
