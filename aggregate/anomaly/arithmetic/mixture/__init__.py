"""The Dirichlet process mixture of `dpmm`: its start, a step, what it is fitted to and how far tokens are."""
