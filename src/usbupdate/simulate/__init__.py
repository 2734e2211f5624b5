"""The embedded device: the real agent on slots that are files and a boot loader that is a file."""
