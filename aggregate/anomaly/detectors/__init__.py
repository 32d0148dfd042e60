"""Detectors: normal brains in, anomaly scores of tokens, slices and volumes out.

One file per detector, which holds its spec and its class; `registry.py` is the union on `kind`.
"""
