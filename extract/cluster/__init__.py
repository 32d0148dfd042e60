"""Stage one under a batch system: estimates, the scripts, and who submits and finishes them."""
