"""Several stores made into one, and one into a part of it."""
