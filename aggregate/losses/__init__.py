"""Losses: one value per run, from logits or embeddings. One file per loss; `spec.py` weighs them."""
