"""What can go wrong with the store, by whose fault it is.

StoreError
├── StoreUnavailable   the world's fault, for now: disk full, database away, timeout. Nothing was committed; try again.
├── OutcomeUnknown     the world's fault: the answer to COMMIT was lost. Ask again with the same nonces.
└── StoreUnusable      the operator's fault: not a database, newer schema, wrong password. One line says what to do.
"""

from __future__ import annotations


class StoreError(Exception):
    """Anything the store can raise."""


class StoreUnavailable(StoreError):
    """The store cannot answer now and nothing was changed; the same call may work later."""


class OutcomeUnknown(StoreError):
    """A commit may or may not have happened; appending the same nonces again tells."""


class StoreUnusable(StoreError):
    """The store can never work as it is set up; the message says what to do in one line."""
