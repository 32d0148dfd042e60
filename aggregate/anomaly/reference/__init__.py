"""The reference group: who the normals are, and whether others are like them."""
