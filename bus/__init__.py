"""Events between servers: the records, one Bus protocol, and its twins."""
