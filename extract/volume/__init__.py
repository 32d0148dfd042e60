"""One volume from its file: headers, voxels, orientation."""
