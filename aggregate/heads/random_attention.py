"""Attention as it was drawn, never trained: the control for DinoAtten3D as released.

The released code gives its optimiser the embedding alone, so that its attention stays random (arXiv
2509.12512). Here embedding and classifier are trained and only the attention is left as it is; with the
same seed it is the same attention as that of `kind: attention` before training.
"""

from aggregate.heads.attention import AttentionHead


class RandomAttentionHead(AttentionHead):
    """The attention head with a pool that no optimiser gets."""

    @property
    def trainable(self) -> frozenset[str]:
        """Everything behind the pool, or the embedding alone."""
        return super().trainable - self.pool_shapes().keys()
