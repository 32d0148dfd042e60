"""What the writer does step by step: rows, drafts, the looks around a record, a store in a bucket."""
