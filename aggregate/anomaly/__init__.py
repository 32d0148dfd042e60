"""Anomaly detection: detectors, studies, maps and what they are worth."""
