"""Tokens without their site's shift and scale, learnt from training parts only."""
