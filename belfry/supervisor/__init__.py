"""The fleet supervisor: holds the listening sockets, keeps a server on each, and redeploys them without a gap."""
