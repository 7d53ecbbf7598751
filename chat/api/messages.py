"""/v1/rooms/{room}/messages: read a room's history, and send without a websocket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct
from msgspec import field as renamed
from quart import Blueprint
from quart_schema import tag, validate_headers, validate_querystring, validate_request, validate_response

from chat.api.auth import caller, require_token
from chat.api.errors import BadRequest, Detail
from chat.api.rooms import Moment, find
from chat.text import check_nonce
from chat.wire import User

if TYPE_CHECKING:
    from chat.service import Service
    from chat.tokens import Tokens

NEWEST = 2**63 - 1  # above every number; what the columns hold

Number = Annotated[int, Meta(ge=0, le=NEWEST)]


class Message(Struct, frozen=True):
    """One message, the same as on the websocket."""

    seq: Annotated[int, Meta(description="Its place in the room, from 1, without holes.")]
    user: User = renamed(name="from")
    text: str
    at: Moment


class Messages(Struct, frozen=True):
    """A piece of a room's history, ascending."""

    epoch: Annotated[str, Meta(description="If it is not the one you know, forget what you have: the room is another.")]
    head: Annotated[int, Meta(description="The number of the room's newest message.")]
    messages: list[Message]


class MessagesQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which messages; the newest without `before` and `after`, and not both of them."""

    before: Annotated[Number | None, Meta(description="The newest messages with a smaller number than this.")] = None
    after: Annotated[Number | None, Meta(description="The oldest messages with a greater number than this.")] = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Messages a page.")] = 50


class NewMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A message to send."""

    text: Annotated[
        str, Meta(description="Kept exactly as sent; at most `limits.text_chars` of `welcome`.", examples=["hi"])
    ]


class SendHeaders(Struct, frozen=True):
    """What makes a send safe to repeat."""

    idempotency_key: Annotated[
        str,
        Meta(
            description="1-64 printable ASCII characters without spaces, your own for each message: the same key"
            " again is the same message. It is the `nonce` of the websocket.",
            examples=["5f0c7b1e"],
        ),
    ]


class Sent(Struct, frozen=True):
    """The message is durable."""

    seq: int
    at: Moment


class MessageRoutes:
    """The messages' routes."""

    def __init__(self, service: Service, tokens: Tokens) -> None:
        self._service = service
        self._tokens = tokens

    def routes(self) -> Blueprint:
        routes = Blueprint("messages", __name__)
        routes.add_url_rule("/rooms/<room>/messages", "history", self.history, methods=["GET"])
        routes.add_url_rule("/rooms/<room>/messages", "send", self.send, methods=["POST"])
        require_token(routes, self._tokens)
        return routes

    @tag(["messages"])
    @validate_querystring(MessagesQuery)
    @validate_response(Messages)
    async def history(self, room: str, query_args: MessagesQuery) -> Messages:
        """Read messages

        Always ascending. To read back, ask for those `before` the smallest number you have, until it is 1; to
        catch up, for those `after` the greatest, until it is `head`.
        """
        query = query_args
        if query.before is not None and query.after is not None:
            problem = "before and after exclude each other"
            raise BadRequest(problem, Detail("before", problem), Detail("after", problem))
        record = await find(self._service, room)
        store = self._service.store
        if query.after is not None:
            found = await store.messages_after(record.id, query.after, query.limit)
        else:
            before = query.before if query.before is not None else NEWEST
            found = await store.messages_before(record.id, before, query.limit)
        messages = [Message(m.seq, User(m.user_id, m.user_name), m.text, m.at) for m in found]
        # The room was read first: what was committed between the two reads is in the messages only.
        head = max([record.last_seq, *(message.seq for message in messages[-1:])])
        return Messages(record.epoch, head, messages)

    @tag(["messages"])
    @validate_request(NewMessage)
    @validate_headers(SendHeaders)
    @validate_response(Sent, 201)
    @validate_response(Sent, 200)
    async def send(self, room: str, data: NewMessage, headers: SendHeaders) -> tuple[Sent, int]:
        """Send a message

        Answers when the message is durable, with its number: 201, or 200 when this key had been used before.
        After any failure, also one you did not see, send again with the same Idempotency-Key.
        """
        nonce = check_nonce(headers.idempotency_key)
        await find(self._service, room)
        who = caller()
        appended = await self._service.send(room, User(who.user_id, who.name), nonce, data.text)
        return Sent(appended.seq, appended.at), 201 if appended.fresh else 200
