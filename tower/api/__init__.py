"""The tower's HTTP API."""
