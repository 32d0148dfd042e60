"""Tables of a paper as LaTeX with booktabs, each beside a CSV of the same cells."""
