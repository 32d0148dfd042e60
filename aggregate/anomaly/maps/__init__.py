"""Anomaly maps in the volume's own space: from the token grid to native voxels to NIfTI."""
