"""Stage one on the workers of a dask scheduler: the same per-volume work, on machines that come and go.

dask is imported inside functions only: it is an extra (`slicecache[cluster]`).
"""
