"""What `make bench` runs: every figure of ours beside the peers', same load, same cores, one run."""
