"""The process in which HDF5 runs, and what it is asked there: `python -m cache_schema.files.h5.serving`."""
