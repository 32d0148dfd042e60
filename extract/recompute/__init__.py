"""Some slices of a store made again from their images, and compared."""
