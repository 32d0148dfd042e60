"""What workers say of themselves while they write a store."""
