"""The HTTP API: rooms, history and guests under /v1, health and metrics, and the pages of the web client."""
