"""What runs around Belfry: the Compose file for people with Docker, and the same services without it."""
