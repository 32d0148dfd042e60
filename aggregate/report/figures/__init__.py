"""Figures: `drawing` makes each the same bytes from the same numbers, `redraw` again from its table."""
