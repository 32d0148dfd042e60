"""A page for each of the most telling participants, and a viewer of their maps."""
