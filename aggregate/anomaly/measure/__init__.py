"""What maps are worth: lesion masks as truth, metrics over voxels that stream and merge."""
