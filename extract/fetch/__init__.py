"""Backbones by name: which there are, and fetching their weights for machines without internet."""
