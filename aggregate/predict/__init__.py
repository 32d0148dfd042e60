"""Bundles, and what they say of other stores."""
