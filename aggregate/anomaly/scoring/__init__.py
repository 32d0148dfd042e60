"""Fitted detectors and the scores of whole volumes."""
