"""The report: one self-contained page about a fleet, which opens from a stick in any browser without a network."""
