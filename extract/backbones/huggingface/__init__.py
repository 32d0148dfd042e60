"""Backbones through `transformers`: what its configurations say, and its networks behind our interface."""
