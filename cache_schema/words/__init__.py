"""Words about a pipeline file, made from its models: descriptions, examples, JSON schema, reference page."""
