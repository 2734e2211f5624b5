"""Coverage-guided fuzzing of every decoder, and of a whole stick; `make fuzz`. The corpus is replayed by `make test`."""
