"""The pure part: bytes and values in, values or errors out. No files, no clock, no processes, no randomness."""
