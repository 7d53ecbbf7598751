"""compose/kubernetes: valid in all versions that know what they use, at one with the image, and run as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import kubernetes_validate
import pytest
import yaml

from belfry.settings import BY_NAME
from belfry.sources import warnings
from belfry.up import LATE
from compose.services.ports import free_port
from tests.compose import image
from tests.compose.stack import COMPOSE

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = COMPOSE / "kubernetes"
VERSIONS = ("1.30", "1.33", "1.35", "1.37")  # preStop's sleep is on without being asked for since 1.30
PATIENCE = 60.0  # seconds for a start or a stop on a loaded machine; it takes one

RESOURCES: list[dict[str, Any]] = [
    resource for path in sorted(FOLDER.glob("*.yaml")) for resource in yaml.safe_load_all(path.read_text())
]


def of_kind(kind: str, name: str = "") -> dict[str, Any]:
    """The one resource of a kind, or of a kind and a name."""
    (found,) = [one for one in RESOURCES if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return found


PODS = {kind: of_kind(kind)["spec"]["template"]["spec"] for kind in ("StatefulSet", "Job")}
CONTAINERS = {kind: pod["containers"][0] for kind, pod in PODS.items()}
CONFIG: dict[str, str] = of_kind("ConfigMap")["data"]
POD = PODS["StatefulSet"]
SERVER = CONTAINERS["StatefulSet"]


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version: str) -> None:
    for resource in RESOURCES:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("kind", PODS)
def test_a_pod_may_little_and_is_the_images_user(kind: str) -> None:
    pod, (container,) = PODS[kind], PODS[kind]["containers"]
    user, _, group = image.said("USER").partition(":")
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
    assert context["fsGroup"] == int(group), "else it could not read its secret"
    assert context["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }  # fmt: skip
    assert pod["automountServiceAccountToken"] is False
    assert pod["volumes"][0]["secret"]["defaultMode"] == 0o440


def test_a_service_of_our_name_sets_no_variable_of_ours() -> None:
    clashing = {f"{one['metadata']['name'].upper()}_PORT" for one in RESOURCES if one["kind"] == "Service"}
    assert clashing & {setting.variable for setting in BY_NAME.values()} == {"BELFRY_PORT"}
    assert all(pod["enableServiceLinks"] is False for pod in PODS.values())


def test_a_stop_fits_into_the_grace_time() -> None:
    waits = SERVER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert waits + float(CONFIG["BELFRY_DRAIN_DEADLINE"]) + LATE < POD["terminationGracePeriodSeconds"] == 30
    # The Service must have let go of the pod, by its own word or by the probe's, before the port closes.
    assert waits >= 3


def test_who_is_selected_is_there() -> None:
    labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert of_kind("StatefulSet")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert of_kind("Job")["spec"]["template"]["metadata"]["labels"] != labels
    for name in ("belfry", "belfry-servers"):
        assert of_kind("Service", name)["spec"]["selector"] == labels
    assert of_kind("StatefulSet")["spec"]["serviceName"] == "belfry-servers"
    assert str(SERVER["ports"][0]["containerPort"]) == CONFIG["BELFRY_PORT"] == image.said("EXPOSE")
    assert SERVER["envFrom"] == [{"configMapRef": {"name": of_kind("ConfigMap")["metadata"]["name"]}}]
    assert len({container["image"] for container in CONTAINERS.values()}) == 1


def environment(kind: str, tmp_path: Path) -> dict[str, str]:
    """What the kubelet would set, with this machine's places for the cluster's."""
    config = CONFIG if kind == "StatefulSet" else {}
    own = {one["name"]: one.get("value", "belfry-0") for one in CONTAINERS[kind]["env"]}
    assert warnings(config | own) == []
    mount = CONTAINERS[kind]["volumeMounts"][0]["mountPath"]
    here = {"BELFRY_HOST": "127.0.0.1", "BELFRY_PORT": str(free_port()), "BELFRY_BUS": "memory:"}
    merged = {name: text.replace(mount, str(tmp_path)) for name, text in (config | own).items()}
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("BELFRY_")}
    return inherited | merged | {name: text for name, text in here.items() if name in merged}


def command(kind: str) -> list[str]:
    assert "command" not in CONTAINERS[kind], "the image's entrypoint is the program"
    return [sys.executable, "-m", "belfry", *CONTAINERS[kind]["args"]]


def test_the_probes_ask_what_a_server_answers_and_the_job_makes_its_schema(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(f'db = "sqlite:///{tmp_path}/belfry.db"\n')
    (tmp_path / "secret").write_text("Zr8pQ1xLw93mTb5yVc7dKs2hNf6gJe4a\n")
    migrated = subprocess.run(
        command("Job"), env=environment("Job", tmp_path), capture_output=True, text=True, timeout=PATIENCE
    )
    assert migrated.returncode == 0, migrated.stderr
    environ = environment("StatefulSet", tmp_path)
    log = tmp_path / "log"
    with log.open("wb") as file, subprocess.Popen(command("StatefulSet"), env=environ, stderr=file) as server:
        try:
            deadline = time.monotonic() + PATIENCE
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                path = SERVER[probe]["httpGet"]["path"]
                while not answers(f"http://127.0.0.1:{environ['BELFRY_PORT']}{path}"):
                    assert server.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, f"{probe} never succeeds"
                    time.sleep(0.05)
            server.send_signal(signal.SIGTERM)
            assert server.wait(POD["terminationGracePeriodSeconds"]) == 0
        finally:
            server.kill()
    assert f"in {CONFIG['BELFRY_DRAIN_DEADLINE']} s at most" in log.read_text()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0).status_code == 200
    except httpx.TransportError:
        return False
