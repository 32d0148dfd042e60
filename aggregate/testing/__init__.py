"""The laws of parts, importable: what must hold of every head, loss and detector, ours or anybody's."""
