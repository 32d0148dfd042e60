"""Text from people and for them: YAML, cells of tables, sentences on mistakes."""
