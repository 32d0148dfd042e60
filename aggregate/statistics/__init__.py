"""From scores to claims: metrics, calibration, intervals and tests that know that folds overlap."""
