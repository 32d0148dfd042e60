"""Stage one under a batch system: what a site wants said, the scripts, and who submits and finishes them."""
