"""The limit of open files: each connection is one."""

from __future__ import annotations

import resource

OWN_FILES = 64  # descriptors besides connections: database, logs, epoll, wake-up pipes, libraries; 20 were counted


def file_limit() -> int | None:
    """How many files this process may open once it asks for all it can have; None is without limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return None if hard == resource.RLIM_INFINITY else hard


def raise_file_limit() -> int | None:
    """Lift the soft limit to the hard one; returns what holds now, None is without limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):
            return soft  # macOS says "unlimited" and refuses it; the start-up lines then tell what is too few
    return file_limit()
