"""The runs of an ablation: planned, journalled, trained."""
