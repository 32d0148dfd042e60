"""Stage one: find, read, orient, slice and embed volumes, and commit them to a store."""
