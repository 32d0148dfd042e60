"""Figures of what a head is worth: intervals, curves, calibration, who is called what."""
