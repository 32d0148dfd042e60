"""Heads: pool the slices of a bag, embed the pooled vector, classify it.

One file per head, with its spec beside its class; `registry.py` is the union on `kind`.
"""
