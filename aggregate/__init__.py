"""Stage two: heads, losses, folds, statistics and reports, from the cached embeddings alone."""
