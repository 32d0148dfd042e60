"""Detectors: normal brains in, anomaly scores of tokens, slices and volumes out. One file per detector.

`spec.py` is the registry (a union on `kind`) and imports no torch; `build()` loads the detector itself.
"""
