"""Scores in standard deviations of normals: one detector's by height, and several on one scale."""
