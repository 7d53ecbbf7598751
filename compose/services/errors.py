"""What can go wrong with a service."""

from __future__ import annotations


class ServiceError(Exception):
    """It could not be fetched or started; the message says why, with the end of its log, and what to do."""
