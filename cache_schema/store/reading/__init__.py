"""What stands behind a reader: entries, proofs, records, and stores that change under it."""
