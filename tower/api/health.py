"""What machines ask a tower: /healthz, /readyz and /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from quart import Blueprint, Response
from quart_schema import hide

if TYPE_CHECKING:
    from tower.service import Tower


class Health:
    """The routes of load balancers, orchestrators and Prometheus."""

    def __init__(self, tower: Tower) -> None:
        self._tower = tower

    def routes(self) -> Blueprint:
        routes = Blueprint("health", __name__)
        routes.add_url_rule("/healthz", "alive", self.alive, methods=["GET"])
        routes.add_url_rule("/readyz", "ready", self.ready, methods=["GET"])
        routes.add_url_rule("/metrics", "metrics", self.metrics, methods=["GET"])
        return routes

    @hide
    async def alive(self) -> dict[str, str]:
        """200 while the process lives: an orchestrator restarts on anything else."""
        return {"status": "ok"}

    @hide
    async def ready(self) -> dict[str, str]:
        """200 while it can be asked. A fleet without a ready server is no reason to hide the tower that says so."""
        return {"state": "ready"}

    @hide
    async def metrics(self) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(generate_latest(self._tower.metrics.registry), content_type=CONTENT_TYPE_LATEST)
