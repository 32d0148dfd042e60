"""How processes on other machines are had: the site file, dask's clusters, a window of tasks.

dask is imported inside functions only: it is an extra (`slicecache[cluster]`).
"""
