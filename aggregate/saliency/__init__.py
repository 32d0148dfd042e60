"""Where a head looks in a volume: slice attention times in-plane attention, and how well that segments."""
