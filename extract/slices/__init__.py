"""From a volume to slice images: foreground, slice rule, intensity, canvas."""
