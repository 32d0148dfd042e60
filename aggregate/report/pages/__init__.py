"""Pages: what each shows, and the templates that show it."""
