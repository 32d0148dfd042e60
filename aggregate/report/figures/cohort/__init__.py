"""Who takes part: how a cohort came to be, and where its participants lie in the space of embeddings."""
