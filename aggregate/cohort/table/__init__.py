"""What the cohort table says: its rows, and what they mean for join, target, split and sessions."""
