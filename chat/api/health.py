"""What machines ask: /healthz, /readyz and /metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from quart import Blueprint, Response
from quart_schema import hide

if TYPE_CHECKING:
    from chat.service import Service


class Health:
    """The routes of load balancers, orchestrators and Prometheus."""

    def __init__(self, service: Service, registry: CollectorRegistry) -> None:
        self._service = service
        self._registry = registry

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
    async def ready(self) -> tuple[dict[str, str], int]:
        """200 while new connections are welcome, else 503: a load balancer sends them elsewhere."""
        state = self._service.state
        return {"state": state}, 200 if state == "ready" else 503

    @hide
    async def metrics(self) -> Response:
        """The metrics in Prometheus' text format."""
        return Response(generate_latest(self._registry), content_type=CONTENT_TYPE_LATEST)
