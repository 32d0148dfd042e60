"""A placed network as a compiled graph, for engines other than torch."""
