"""The classes of Kafka's answers, kept: kafka-python 3.0 can lose one of them when two threads ask for it at once.

The library makes a class for each version of an answer when it is first asked for. That class is written into its
registry, as a weak reference, over the one that was there; where two threads make it at one moment, the registry may
name the one that nothing else holds. From then on no answer of that kind is read in this process: the bus never comes
back (seen once, after a broker's restart). Here the registry holds the answers' own classes, which make the others.
"""

from __future__ import annotations

from typing import Any

from kafka.protocol.api_header import ResponseClassRegistry


def keep_response_classes() -> None:
    """Let the registry hold what it names, and let nothing be written over it. Before threads begin; twice is once."""
    known = ResponseClassRegistry._response_class_registry
    for key, found in list(known.items()):
        known[key] = found[None]  # the class itself, of no version: what a weak reference to either leads to
    ResponseClassRegistry.register_response_class = _register


def _register(response_class: Any) -> None:
    ResponseClassRegistry._response_class_registry.setdefault(response_class.API_KEY, response_class)
