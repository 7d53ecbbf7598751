"""What one tower can be told, already checked: no environment, no files, no defaults from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """One tower."""

    version: str = "0"
    open_dashboard: bool = False  # reading needs no token for who comes over loopback; verbs always need one
