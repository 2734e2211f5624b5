"""Signed updates and signed proof for Linux devices that are never on a network."""
