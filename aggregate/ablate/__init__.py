"""Many configurations on the same folds: expanded, trained together, compared with honest statistics."""
