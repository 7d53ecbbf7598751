"""One chat server: front door, sockets, rooms, commit, presence, drain, HTTP API and web client."""
