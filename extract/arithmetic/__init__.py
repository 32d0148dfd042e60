"""With which arithmetic a backbone runs: by which engine, in which dtype, and how that is decided."""
