"""What an extraction would do, before it does it."""
