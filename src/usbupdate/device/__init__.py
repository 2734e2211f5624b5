"""What runs as root on a device: the agent and everything that it touches, each behind a small Protocol."""
