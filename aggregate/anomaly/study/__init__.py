"""`slicecache detect`: from a reference group to fitted detectors, maps, metrics and a report."""
