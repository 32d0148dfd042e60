"""The reports: self-contained HTML files. Importing them needs the `report` extra."""
