"""What an ablation found: comparisons, tables, claims."""
