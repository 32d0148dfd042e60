"""What a trained head decides by: evidence of slices, out of fold, beside controls that must be beaten."""
