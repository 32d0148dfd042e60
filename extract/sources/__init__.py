"""Where volumes come from: a BIDS tree or a table with one row per volume."""
