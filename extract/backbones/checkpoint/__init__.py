"""Checkpoints on disk: where they are looked for, whether they are whole, and those that were fetched."""
