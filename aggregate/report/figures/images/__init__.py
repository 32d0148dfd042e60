"""Pictures of slices, and scores and components over them."""
