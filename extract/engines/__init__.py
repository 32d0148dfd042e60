"""The engines that carry an extraction out."""
