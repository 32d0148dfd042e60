"""Waiting for the disk, and files that appear whole or not at all."""
