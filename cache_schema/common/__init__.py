"""What every room may use: errors, strict models, the pipeline file, progress."""
