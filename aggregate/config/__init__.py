"""The `aggregate` section of a pipeline file."""
