"""Heads: pool the slices of a bag, embed the pooled vector, classify it. One file per head.

`spec.py` is the registry (a union on `kind`) and imports no torch; `build()` loads the head itself.
"""
