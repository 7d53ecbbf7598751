"""`python -m bench.flood`: fills a fleet's message topic with records, as another server would have written them.

Everything is encoded first; then it says "ready" and waits for a line, because its reader stands still meanwhile and
must not for long.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from bus.events import Committed
from bus.kafka_writer import ORIGIN
from bus.records import encoded, joined
from bus.topics import MESSAGES, partition_of
from bus.url import KafkaUrl, parse_url

BATCH_BYTES = 1_000_000  # of one request: below the broker's bound for a batch
FLUSH = 60.0  # seconds

body = msgspec.json.Encoder().encode


def main() -> None:
    """Write the records of one room: a message that everybody has seen, so that nothing of it is delivered."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--bus", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--room", required=True)
    parser.add_argument("--epoch", required=True)
    options = parser.parse_args()
    url = parse_url(options.bus)
    assert isinstance(url, KafkaUrl)
    message = {"seq": 1, "from": {"id": "u_0", "name": "Bench 0"}, "text": "x" * 60, "at": "2026-01-01T00:00:00Z"}
    event = Committed(options.room, 1, options.epoch, 1, [body(message)])
    value, _ = next(joined(encoded(event)))
    partition = partition_of(options.room, MESSAGES.partitions)
    from kafka import KafkaProducer  # here, because it takes 0.3 s that --help need not

    producer = KafkaProducer(
        bootstrap_servers=list(url.brokers), enable_idempotence=False, acks=1, linger_ms=5, batch_size=BATCH_BYTES,
        metrics_enabled=False,
    )  # fmt: skip
    topic, headers = url.prefix + MESSAGES.name, [(ORIGIN, b"flood")]
    producer.partitions_for(topic)
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(options.count):
        producer.send(topic, value=value, headers=headers, partition=partition)
    producer.flush(FLUSH)
    print("done", flush=True)
    producer.close(timeout=1.0)


if __name__ == "__main__":
    main()
