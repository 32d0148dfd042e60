"""What a study of detectors will take: seconds, bytes, memory, by a short probe on its store's volumes."""
