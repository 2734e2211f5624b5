"""Exports for other programs: what the devices state and what was found wrong, in forms that they read."""
