"""How far a store is, told from any machine that sees it."""
