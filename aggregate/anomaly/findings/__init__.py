"""What a detection found: metrics, tables, verdicts."""
