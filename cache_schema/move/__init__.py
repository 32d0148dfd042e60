"""Stores on the move: packed, exported, imported, and participants taken out."""
