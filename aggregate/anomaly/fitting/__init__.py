"""Fitting detectors: the stream of normal slices, epochs, checkpoints, thresholds."""
