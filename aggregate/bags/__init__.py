"""Tokens of a cohort as padded bags, in memory or read by blocks from the store."""
