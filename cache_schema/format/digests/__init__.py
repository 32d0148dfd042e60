"""What numbers come to: digests, proofs, checksums, statistics."""
