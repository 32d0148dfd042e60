"""Where bytes lie: a local folder, a remote store, an HDF5 file; written whole or not at all."""
