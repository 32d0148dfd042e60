"""What every head is compared with: mean pooling, confounds, scanner, head size."""
