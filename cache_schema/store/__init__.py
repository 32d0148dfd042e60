"""A store as a whole: created, written, read, described, sealed."""
