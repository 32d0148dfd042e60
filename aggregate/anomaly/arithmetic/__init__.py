"""The arithmetic that several detectors share."""
