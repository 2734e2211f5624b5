"""Installations by usbupdate and by its peers, side by side: what they install, how each does it, and what it costs."""
