"""The contract between the stages: what a slicecache store is, how it is written, read and trusted.

Nothing here imports torch, and importing this package imports neither zarr nor h5py: `open_store`
and `StoreWriter` load them when a store is opened.
"""
