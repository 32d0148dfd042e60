"""What is stored and what it means: header, record, key, layout, digests. No input or output."""
