"""The published schema of the events that the export writes, and the script that took it out of the whole."""
