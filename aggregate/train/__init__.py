"""One study from a pipeline to a run folder: cross-validation, its null, its files."""
