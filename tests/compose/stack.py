"""compose/compose.yaml as plain processes: commands, environments, secrets and health checks as the file has them.

What differs from containers is said in `Stack`: names, ports and paths of the containers' own become this machine's.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from compose.services import Kafka, Mysql
from compose.services.cache import cache
from compose.services.ports import free_port
from tests.compose import image

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COMPOSE = image.ROOT / "compose"
FILE = COMPOSE / "compose.yaml"
PATIENCE = 180.0  # seconds for any start; two are common
SECRETS = "/run/secrets"


def compose() -> dict[str, Any]:
    """The file, with variables as they are where nobody sets them."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", FILE.read_text())
    assert "${" not in text
    found: dict[str, Any] = yaml.safe_load(text)
    return found


SERVICES: dict[str, dict[str, Any]] = compose()["services"]


def seconds(text: str) -> int:
    """Compose's durations of one unit."""
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]


def health(service: str) -> list[str]:
    """The check's command, of the service or of Belfry's image."""
    if "healthcheck" not in SERVICES[service]:
        return image.healthcheck()
    kind, *command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD"
    return list(command)


class ComposeMysql(Mysql):
    """MySQL with the options of the file, where the vendor's image would have made the user."""

    extra = SERVICES["mysql"]["command"]


class ComposeKafka(Kafka):
    """Kafka set up by the program that the vendor's image runs, from the mounted directory."""

    @property
    def _properties(self) -> Path:
        return self.directory / "final" / "server.properties"

    def prepare(self) -> None:
        folders = [self.directory / name for name in ("defaults", "mounted", "final")]
        for folder in folders:
            folder.mkdir()
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (folders[0] / name).touch()  # the image's own, which it copies along
        text = (COMPOSE / "kafka" / "server.properties").read_text()
        changes = {
            "PLAINTEXT://:9092": f"PLAINTEXT://127.0.0.1:{self.port}",
            "PLAINTEXT://kafka:9092": f"PLAINTEXT://127.0.0.1:{self.port}",
            "127.0.0.1:9093": f"127.0.0.1:{free_port()}",
            "/var/lib/kafka/data": str(self.directory / "data"),
        }
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (folders[1] / "server.properties").write_text(text)
        options = [
            f"--{kind}-configs-dir={folder}"
            for kind, folder in zip(("default", "mounted", "final"), folders, strict=True)
        ]
        self.run([*self._java(), "kafka.docker.KafkaDockerWrapper", "setup", *options], "setting it up")

    def environment(self) -> dict[str, str]:
        return os.environ | SERVICES["kafka"]["environment"]

    def _java(self) -> list[str | Path]:
        heap = SERVICES["kafka"]["environment"]["KAFKA_HEAP_OPTS"].split()
        return ["java", *heap, "-cp", f"{cache()}/kafka-{self.version}/libs/*"]


class Stack:
    """The file's services on free ports of 127.0.0.1, below a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.secrets = directory / "secrets"
        self.mysql = ComposeMysql(directory / "mysql")
        self.kafka = ComposeKafka(directory / "kafka")
        self.ports = {name: free_port() for name in ("chat-1", "chat-2", "balancer", "tower")}
        self.belfry = image.build(directory / "image")
        environ = os.environ | {"BELFRY_SECRETS": str(self.secrets)}
        subprocess.run(["sh", COMPOSE / "make-secrets"], env=environ, check=True, capture_output=True)
        settings = self.secrets / "belfry_settings.toml"
        self._replace(settings, {"@mysql:3306/": f"@127.0.0.1:{self.mysql.port}/"})
        (directory / "haproxy.cfg").write_text((COMPOSE / "haproxy.cfg").read_text())
        changes = {f"{name} {name}:8000": f"{name} 127.0.0.1:{self.ports[name]}" for name in ("chat-1", "chat-2")}
        changes |= {"bind :8443": f"bind 127.0.0.1:{self.ports['balancer']}", SECRETS: str(self.secrets)}
        self._replace(directory / "haproxy.cfg", changes)

    @property
    def url(self) -> str:
        """What people open."""
        return f"https://localhost:{self.ports['balancer']}"

    def command(self, service: str, *instead: str) -> list[str]:
        """What a container of Belfry's image executes; `instead` of the file's command where it is given."""
        return self._here(service, [*image.entrypoint(), *(instead or SERVICES[service]["command"])])

    def balancer(self) -> list[str]:
        """What HAProxy's image executes when nothing else is said: its entrypoint adds the first two."""
        return ["haproxy", "-W", "-db", "-f", str(self.directory / "haproxy.cfg")]

    def environment(self, service: str) -> dict[str, str]:
        """The image's and the service's; of this machine's only what its programs need to run."""
        ours = {name: text for name, text in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
        said = image.environment() | SERVICES[service].get("environment", {})
        here = dict(zip(said, self._here(service, list(said.values())), strict=True))
        return ours | here | {"MYSQL_TCP_PORT": str(self.mysql.port)}  # where mysqladmin looks

    def run(self, service: str, *instead: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """One command to its end."""
        return subprocess.run(
            self.command(service, *instead),
            env=self.environment(service) | variables,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    @contextmanager
    def started(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service, healthy; killed at the end if it still runs."""
        command = self.balancer() if service == "balancer" else self.command(service)
        assert not self.is_healthy(service)
        with self.log(service).open("ab") as log:
            process = subprocess.Popen(command, env=self.environment(service), stdout=log, stderr=log)
        try:
            self.wait_healthy(service, process)
            yield process
        finally:
            process.kill()
            process.wait()

    def log(self, service: str) -> Path:
        return self.directory / f"{service}.log"

    def is_healthy(self, service: str) -> bool:
        """The file's check, as it is said there."""
        done = subprocess.run(
            self._here(service, health(service)), env=self.environment(service), capture_output=True, timeout=PATIENCE
        )
        return done.returncode == 0

    def wait_healthy(self, service: str, process: subprocess.Popen[bytes] | None = None) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.is_healthy(service):
            if process is not None:
                assert process.poll() is None, self.log(service).read_text()
            assert time.monotonic() < deadline, f"{service} is not healthy"
            time.sleep(0.1)

    def _here(self, service: str, words: Sequence[str]) -> list[str]:
        """Words of a container's, where its names, ports and paths are this machine's."""
        changes = {
            "/opt/belfry": str(self.belfry),
            f"{SECRETS}/belfry_settings": str(self.secrets / "belfry_settings.toml"),
            SECRETS: str(self.secrets),
            "kafka:9092": f"127.0.0.1:{self.kafka.port}",
            "/dev/tcp/127.0.0.1/9092": f"/dev/tcp/127.0.0.1/{self.kafka.port}",
            "/dev/tcp/127.0.0.1/8443": f"/dev/tcp/127.0.0.1/{self.ports['balancer']}",
            "0.0.0.0": "127.0.0.1",  # nothing of a test is for other machines
        }
        if service in self.ports:
            changes["8900" if service == "tower" else "8000"] = str(self.ports[service])
        found = []
        for word in words:
            for old, new in changes.items():
                word = word.replace(old, new)
            found.append(word)
        return found

    @staticmethod
    def _replace(path: Path, changes: dict[str, str]) -> None:
        text = path.read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{old!r} is not there once"
            text = text.replace(old, new)
        path.chmod(0o600)
        path.write_text(text)
