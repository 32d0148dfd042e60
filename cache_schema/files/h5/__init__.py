"""HDF5 exports: written, read, and held to what we write."""
