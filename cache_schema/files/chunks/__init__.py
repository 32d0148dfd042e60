"""Chunks and shards: coded, and read straight into place."""
