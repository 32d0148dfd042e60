"""What every step of every run is given: batches by their seeds, and tokens that are pooled once for all."""
