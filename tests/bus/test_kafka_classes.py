"""A class of an answer that nothing holds is not what the library's registry names: in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

# What two threads do that ask for one version at once: both make its class, and one of them is dropped.
TWO_THREADS = """\
import gc
from types import SimpleNamespace
{begin}
from kafka import KafkaConsumer
from kafka.protocol.api_header import ResponseClassRegistry

asked = SimpleNamespace(request_api_key=18, request_api_version=0)
first = ResponseClassRegistry.get_response_class(asked)
of_no_version = first[None]
of_no_version._VERSIONS.clear()
del first
gc.collect()
print(ResponseClassRegistry.get_response_class(asked).API_KEY)
"""


@pytest.mark.parametrize(("begin", "says"), [("import bus.kafka_client", "18"), ("", "ReferenceError")])
def test_a_class_that_was_made_twice_is_still_found(begin: str, says: str) -> None:
    """Without us it is lost; once a newer kafka-python does not, bus/kafka_classes.py is not needed any more."""
    command = [sys.executable, "-c", TWO_THREADS.format(begin=begin)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert says in done.stdout + done.stderr, done.stderr
