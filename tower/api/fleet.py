"""/v1: the fleet as it is and as it happens, the operator's verbs, and where a client goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct
from quart import Blueprint, Response, request
from quart_schema import hide, tag, validate_querystring, validate_response

from tower.errors import Refused
from tower.feed import RETRY_MS
from tower.verbs import VERBS, Wish
from tower.views import Assigned, FleetView, RolloutList, Said

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from tower.api.auth import Gate
    from tower.service import Tower

USER = 256  # characters of a user or room in /v1/assign: ids have 64, and a percent-encoded name no more


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """How a verb is done; all of it may be left out."""

    per_second: float = 0.0
    deadline: float = 0.0
    force: bool = False


class Dry(Struct, frozen=True):
    """Whether a verb is only asked about."""

    dry: Annotated[int, Meta(ge=0, le=1, description="1: say what would happen, and do nothing.")] = 0


class Page(Struct, frozen=True):
    """How many rollouts."""

    limit: Annotated[int, Meta(ge=1, le=100, description="The newest so many.")] = 10


class Who(Struct, frozen=True):
    """Who comes, and where to; both may be left out."""

    user: Annotated[str, Meta(max_length=USER, description="Asked again soon, the same user gets the same server.")] = (
        ""
    )
    room: Annotated[str, Meta(max_length=USER)] = ""


class FleetRoutes:
    """The routes of dashboards, operators, clients and load balancers."""

    def __init__(self, tower: Tower, gate: Gate) -> None:
        self._tower = tower
        self._gate = gate

    def routes(self) -> Blueprint:
        routes = Blueprint("fleet", __name__)
        routes.add_url_rule("/servers", "servers", self.servers, methods=["GET"])
        routes.add_url_rule("/rollouts", "rollouts", self.rollouts, methods=["GET"])
        routes.add_url_rule("/events", "events", self.events, methods=["GET"])
        routes.add_url_rule("/servers/<server>/<verb>", "verb", self.verb, methods=["POST"])
        routes.add_url_rule("/assign", "assign", self.assign, methods=["GET"])
        return routes

    @tag(["fleet"])
    @validate_response(FleetView)
    async def servers(self) -> FleetView:
        """Every server, the rollout that runs, and what is wrong now"""
        self._gate.reader()
        return self._tower.view()

    @tag(["fleet"])
    @validate_querystring(Page)
    @validate_response(RolloutList)
    async def rollouts(self, query_args: Page) -> RolloutList:
        """The last rollouts with their verdicts, newest first"""
        self._gate.reader()
        return await self._tower.stories(query_args.limit)

    @hide
    async def events(self) -> Response:
        """The fleet as it happens, over SSE."""
        self._gate.reader()
        tower = self._tower
        last = request.headers.get("Last-Event-ID", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 16 else 0
        tower.feed.refuse_full()  # here and now, while there is still a status to say it by

        async def stream() -> AsyncGenerator[bytes, None]:
            with tower.feed.subscribe(after) as subscriber:
                subscriber.look(msgspec.json.encode(tower.view()))
                yield b"retry: %d\n\n" % RETRY_MS
                while piece := await subscriber.next():
                    yield piece

        response = Response(stream(), content_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        response.timeout = None
        return response

    @tag(["fleet"])
    @validate_querystring(Dry)
    @validate_response(Said, 202)
    async def verb(self, server: str, verb: str, query_args: Dry) -> tuple[Said, int]:
        """Cordon, uncordon, drain a server, or abort its drain

        The answer says in words what happens; the server's state tells when it has.
        """
        by = self._gate.admin()
        if verb not in VERBS:
            raise Refused("not_found", f"{verb[:40]} is no verb; there are {', '.join(VERBS)}")
        body = await request.get_data()
        try:
            order = msgspec.json.decode(body, type=Order) if body.strip() else Order()
        except msgspec.ValidationError as error:
            raise Refused("bad_request", f"the body does not fit: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused("bad_json", f"the body is not JSON: {error}") from None
        wish = Wish(verb, order.per_second, order.deadline, order.force)
        return self._tower.order(server, wish, by, dry=bool(query_args.dry)), 202

    @tag(["clients"])
    @validate_querystring(Who)
    @validate_response(Assigned)
    async def assign(self, query_args: Who) -> Assigned:
        """Where a client goes

        No token is needed, and pages of every origin may ask. Most requests are answered before they get here, by
        tower/door.py.
        """
        return self._tower.assign(query_args.user, query_args.room)
