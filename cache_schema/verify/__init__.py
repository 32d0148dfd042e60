"""Checking a store against itself."""
