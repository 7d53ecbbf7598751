"""The bus a command works on: where it is, and the verbs `belfry bus`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from belfry.errors import FAILED, OK, Failed, Wrong
from bus.url import BadUrl, KafkaUrl, parse_url

if TYPE_CHECKING:
    from belfry.sources import Settings
    from bus.url import BusUrl


def bus_of(settings: Settings) -> BusUrl | None:
    """The bus the settings name, None if they name none. Raises Wrong."""
    if "bus" not in settings.values or settings["bus"] is None:
        return None
    try:
        return parse_url(settings["bus"])
    except BadUrl as bad:
        raise Wrong(f"{settings.origins['bus'].words}: {bad}") from None


def label(url: BusUrl) -> str:
    """The bus in a few words, without its password."""
    return f"Kafka, {url}" if isinstance(url, KafkaUrl) else "inside this process"


def run_make(settings: Settings) -> int:
    """`belfry bus make`. Returns the exit code; raises Wrong and Failed."""
    url = _kafka(settings)
    # Imported here, as everywhere in this package: the library takes 0.3 s.
    from kafka.errors import KafkaError

    from bus.kafka_client import why
    from bus.kafka_topics import TopicsMissing, mend

    try:
        done = mend(url)
    except TopicsMissing as refused:
        raise Failed(str(refused)) from None
    except (KafkaError, OSError) as error:
        raise Failed(f"{url}: {why(error)}") from None
    for line in done or ["nothing to do"]:
        print(f"{url}: {line}", file=sys.stderr)
    return OK


def run_status(settings: Settings, *, as_json: bool) -> int:
    """`belfry bus status`: 1 when something is missing or differs. Raises Wrong."""
    from belfry.doctor_kafka import examine

    checks = list(examine(_kafka(settings)))
    if as_json:
        print(json.dumps({"bus": str(_kafka(settings)), "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            print(f"{check.level:<4}  {check.name:<13}{check.says}{f'; {check.do}' if check.do else ''}")
    return OK if all(check.level == "ok" for check in checks) else FAILED


def _kafka(settings: Settings) -> KafkaUrl:
    url = bus_of(settings)
    if url is None:
        raise Wrong("`belfry bus` needs --bus (flag) or BELFRY_BUS (variable), e.g. kafka://127.0.0.1:9092")
    if not isinstance(url, KafkaUrl):
        raise Wrong(f"{settings.origins['bus'].words}: a bus inside one process has nothing to make; give kafka://...")
    return url
