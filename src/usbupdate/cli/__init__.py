"""The commands: adapters of at most ten lines each; the only place that prints and exits."""
