"""Linear models of a target, solved to the end: what heads start from and are held against."""
