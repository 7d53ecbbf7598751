"""The server that a team writes first: asyncio, websockets' `broadcast`, one awaited INSERT a message, Kafka behind.

As its documentation and everybody's blog show it, and a little better: uvloop, asyncmy (Cython) with its common pool
of ten connections, aiokafka with linger 0. A message is kept before it is acknowledged, so its ack is worth as much
as Belfry's. It has no order that two servers would agree on, no nonces and no resume: that is not what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
from urllib.parse import urlsplit

import asyncmy
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

from bench.peers import dialect

POOL = 10  # connections: what asyncmy, aiomysql and SQLAlchemy give who does not ask
TABLE = """\
CREATE TABLE IF NOT EXISTS message (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, room VARCHAR(64) NOT NULL, user_id VARCHAR(64) NOT NULL,
    nonce VARCHAR(64) NOT NULL, body TEXT NOT NULL, created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    KEY room_id (room, id)) ENGINE=InnoDB"""
INSERT = "INSERT INTO message (room, user_id, nonce, body) VALUES (%s, %s, %s, %s)"


class Hub:
    """The rooms of one server, its pool and its producer."""

    def __init__(self, pool: asyncmy.Pool, producer: AIOKafkaProducer, topic: str) -> None:
        self.rooms: dict[str, set[ServerConnection]] = {}
        self.last: dict[str, int] = {}
        self.numbers = itertools.count()
        self.pool = pool
        self.producer = producer
        self.topic = topic
        self.origin = os.urandom(8)

    async def chat(self, ws: ServerConnection) -> None:
        user = dialect.user(next(self.numbers))
        try:
            async for text in ws:
                frame = dialect.decode(text)
                if frame.t == "join":
                    self.rooms.setdefault(frame.room, set()).add(ws)
                    await ws.send(dialect.joined(frame.room), text=True)
                elif frame.t == "send":
                    await self.send(ws, user, frame)
        except ConnectionClosed:
            pass
        finally:
            for members in self.rooms.values():
                members.discard(ws)

    async def send(self, ws: ServerConnection, user: dict[str, str], frame: dialect.Frame) -> None:
        async with self.pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute(INSERT, (frame.room, user["id"], frame.nonce, frame.text))
        # Numbered here, or two that are inserted at once would be seen in the wrong order.
        self.last[frame.room] = seq = self.last.get(frame.room, 0) + 1
        message = dialect.message(frame.room, seq, user, frame.text)
        await ws.send(dialect.ack(frame.room, frame.nonce, seq), text=True)
        broadcast(self.rooms[frame.room], message, text=True)
        headers = [("origin", self.origin)]
        await self.producer.send(self.topic, message, key=frame.room.encode(), headers=headers)

    async def listen(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            if ("origin", self.origin) not in record.headers and (members := self.rooms.get(record.key.decode())):
                broadcast(members, record.value, text=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--db", required=True)
    parser.add_argument("--bus", required=True)
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    db = urlsplit(options.db)
    brokers, _, prefix = options.bus.removeprefix("kafka://").partition("?prefix=")
    topic = prefix + "team"
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 4, 1)])
    except TopicAlreadyExistsError:
        pass
    finally:
        await admin.close()
    pool = await asyncmy.create_pool(
        host=db.hostname, port=db.port, user=db.username, password=db.password, db=db.path[1:],
        minsize=POOL, maxsize=POOL, autocommit=True,
    )  # fmt: skip
    async with pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute(TABLE)
    async with (
        AIOKafkaProducer(bootstrap_servers=brokers, acks="all") as producer,
        AIOKafkaConsumer(topic, bootstrap_servers=brokers) as consumer,
    ):
        hub = Hub(pool, producer, topic)
        listening = asyncio.create_task(hub.listen(consumer))
        async with serve(hub.chat, "127.0.0.1", options.port, compression=None, backlog=1024):
            await listening


dialect.run(main)
