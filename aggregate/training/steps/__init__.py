"""One step of many runs: start, losses, optimiser, early stop, and the block that takes the steps."""
