"""What is said on a terminal, and how the command ends."""
