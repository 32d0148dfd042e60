"""Ways of saying how much a slice counts, one file each."""
