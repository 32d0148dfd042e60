"""What a machine offers to an extraction, and what to do about what it lacks."""
