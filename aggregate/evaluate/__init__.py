"""A finished bundle on a cohort that had no part in its making: nothing is fitted, nothing is chosen."""
