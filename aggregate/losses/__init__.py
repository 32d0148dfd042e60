"""Losses: one value per run, from logits or embeddings.

One file per loss, with its spec beside its function; `registry.py` names and weighs them.
"""
