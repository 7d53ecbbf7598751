"""A hub on picows, the fastest websocket library for Python (Cython): the frame is written to each member in a loop."""

from __future__ import annotations

import itertools

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from bench.peers import dialect

rooms: dict[str, set[WSTransport]] = {}
last: dict[str, int] = {}
numbers = itertools.count()
PORT, ACKS = dialect.arguments()
TEXT = WSMsgType.TEXT


class Client(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        self.user = dialect.user(next(numbers))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            self.on_text(transport, dialect.decode(frame.get_payload_as_memoryview()))

    def on_text(self, transport: WSTransport, frame: dialect.Frame) -> None:
        if frame.t == "join":
            rooms.setdefault(frame.room, set()).add(transport)
            transport.send(TEXT, dialect.joined(frame.room))
        elif frame.t == "send":
            last[frame.room] = seq = last.get(frame.room, 0) + 1
            if ACKS:
                transport.send(TEXT, dialect.ack(frame.room, frame.nonce, seq))
            message = dialect.message(frame.room, seq, self.user, frame.text)
            for member in rooms[frame.room]:
                member.send(TEXT, message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for members in rooms.values():
            members.discard(transport)


def listener(request: WSUpgradeRequest) -> Client:
    return Client()


async def main() -> None:
    server = await ws_create_server(listener, "127.0.0.1", PORT, backlog=1024)
    await server.serve_forever()


dialect.run(main)
