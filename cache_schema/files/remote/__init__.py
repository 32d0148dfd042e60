"""Stores behind URLs: which URLs there are, what is asked for, and how failures are told."""
