"""Fuzzing: a package, so that `benchmarks/fuzz.py` does not stand in for it."""
