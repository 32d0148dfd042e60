"""Attacks: a package, so that `benchmarks/attacks.py` does not stand in for it."""
