"""The grid: configurations and the stores they read."""
