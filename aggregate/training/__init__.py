"""Training: many runs at once along a leading run axis, each as if it were alone."""
