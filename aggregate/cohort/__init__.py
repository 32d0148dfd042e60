"""Who takes part: the table joined to the store, the target, sessions, volumes, sides and folds."""
