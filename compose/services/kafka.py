"""Apache Kafka: one node, KRaft, both broker and controller."""

from __future__ import annotations

import base64
import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from compose.services.cache import PLUGIN, cache, cached, maven, need, say
from compose.services.errors import ServiceError
from compose.services.ports import HOST, free_port
from compose.services.service import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "4.1.0"
POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>belfry</groupId><artifactId>services</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""
HEAP = "512m"
CLASSES = "classes.jsa"
# One compiler and one collector that need no cores of their own: a broker of minutes starts in 2.7 s instead of 3.8,
# takes 2.6 s of processors for it instead of 4.5, and is not still compiling itself while it is measured. With its
# classes as an earlier broker had them in memory it is 1.4 s, and 1.3 s of processors.
JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller_port}
log.dirs={data}
# Topics are made by who owns them: a name mistyped by a client must not become one.
auto.create.topics.enable=false
# One node: nothing to replicate to.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
# A lone broker that was killed cannot register again before its old session has run out: 9 s by default.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


class Kafka(Service):
    """A Kafka broker; `url` is kafka://host:port, topics are made by who uses it."""

    name: ClassVar[str] = "kafka"
    version: ClassVar[str] = VERSION
    port_wanted: ClassVar[int] = 19_092

    @classmethod
    def fetch(cls) -> None:
        need("java", "default-jre-headless", "Java 17 or newer")
        cached(f"kafka-{VERSION}", _download)
        cached(_record_name(), _record)

    @property
    def url(self) -> str:
        return f"kafka://{HOST}:{self.port}"

    @property
    def address(self) -> str:
        """host:port, as Kafka's clients take it."""
        return f"{HOST}:{self.port}"

    def __init__(self, directory: Path, port: int = 0) -> None:
        super().__init__(directory, port)
        self.controller_port = free_port()
        self.cluster = base64.urlsafe_b64encode(os.urandom(16)).rstrip(b"=").decode()

    def properties(self) -> str:
        """Its configuration."""
        return PROPERTIES.format(
            host=HOST, port=self.port, controller_port=self.controller_port, data=self.directory / "data"
        )

    def prepare(self) -> None:
        self._properties.write_text(self.properties())
        # An id that begins with "-" would be taken for an option.
        format_ = ["kafka.tools.StorageTool", "format", f"--cluster-id={self.cluster}", f"--config={self._properties}"]
        self.run([*self._java(), *format_, *self.more_format_options()], "formatting its storage")

    def more_format_options(self) -> Sequence[str]:
        """What else its storage is formatted with."""
        return []

    def command(self) -> Sequence[str | Path]:
        return [*self._java(), "kafka.Kafka", self._properties]

    def is_ready(self) -> bool:
        # Logged when the broker is registered and serves; its port opens seconds before that.
        return "Kafka Server started" in self.log_of_start()

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    def _java(self) -> list[str | Path]:
        recorded = recorded_classes()
        begun = [f"-XX:SharedArchiveFile={recorded}"] if recorded.exists() else []
        return ["java", f"-Xmx{HEAP}", *JVM, *begun, "-cp", f"{cache()}/kafka-{VERSION}/libs/*"]


class _Recorder(Kafka):
    """A broker whose classes are written down when it ends, for others to begin with."""

    archive: Path

    @classmethod
    def fetch(cls) -> None:
        """Nothing: it is part of that."""

    def command(self) -> Sequence[str | Path]:
        java, *rest = super().command()
        return [java, f"-XX:ArchiveClassesAtExit={self.archive}", *rest]


def recorded_classes() -> Path:
    """Kafka's classes as this machine's Java has them in memory; where they are, or could be."""
    return cache() / _record_name() / CLASSES


def _record_name() -> str:
    """Of the record in the cache; one for each Java, since no other would take it."""
    java = Path(need("java", "default-jre-headless", "Java 17 or newer")).resolve()
    about = java.stat()
    kind = zlib.crc32(f"{java} {about.st_size} {about.st_mtime_ns} {JVM}".encode())
    return f"kafka-{VERSION}-classes-{kind:08x}"


def _record(directory: Path) -> None:
    say("kafka: starting it once to make later starts quicker")
    recorder = _Recorder(directory / "broker")
    recorder.archive = directory / CLASSES
    try:
        with recorder:
            pass
    except ServiceError as error:  # a start in earnest tells it better, if it fails too
        say(f"kafka: later starts are as slow as the first: {error}")
    shutil.rmtree(recorder.directory, ignore_errors=True)


def _download(directory: Path) -> None:
    (directory / "pom.xml").write_text(POM)
    goal = f"{PLUGIN}:copy-dependencies"
    maven(f"Kafka {VERSION}", directory, goal, "-DoutputDirectory=libs", "-DincludeScope=runtime")
