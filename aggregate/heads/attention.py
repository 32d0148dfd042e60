"""DinoAtten3D's attention: `a = softmax(w . tanh(V h + b))` over kept slices, `z = sum a_i h_i`.

The published form has a bias under the softmax; it has no effect and is left out (arXiv 2509.12512,
after Ilse et al. 2018). The backward is written out: tokens need no gradient, and autograd would keep
twice the tensors for it.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from aggregate.heads.base import Head, Parameters
from aggregate.heads.centring import folded
from aggregate.heads.embedding import Shapes, linear_shapes
from aggregate.heads.spec import AttentionSpec


class AttentionHead(Head):
    """One tanh layer scores the slices; the softmax of the scores weighs them."""

    permutation_invariant = True

    def __init__(self, spec: AttentionSpec, dim: int, n_classes: int) -> None:
        """Fix the shapes."""
        super().__init__(spec, dim, n_classes)
        self.hidden = spec.hidden

    def pool_shapes(self) -> Shapes:
        """`attention.project` is V and b, `attention.score.weight` is w."""
        score = {"attention.score.weight": (self.hidden,)}
        return linear_shapes("attention.project", self.dim, self.hidden) | score

    def pool(
        self,
        parameters: Parameters,
        x: Float[Tensor, "#run bag slice dim"],
        keep: Bool[Tensor, "#run bag slice"],
        height_mm: Float[Tensor, "#run bag slice"],
    ) -> tuple[Float[Tensor, "#run bag dim"], Float[Tensor, "#run bag slice"]]:
        """Every run's own attention and the mean by it."""
        project, bias = folded(
            parameters, parameters["attention.project.weight"], parameters["attention.project.bias"]
        )
        output: tuple[Tensor, Tensor] = AttentionPool.apply(
            project, bias, parameters["attention.score.weight"], x, keep
        )
        return output


class AttentionPool(torch.autograd.Function):
    """The pool with its backward written out; gradients reach V, b and w, never the tokens."""

    @staticmethod
    def forward(
        ctx: Any,
        project: Float[Tensor, "run hidden dim"],
        bias: Float[Tensor, "run hidden"],
        score: Float[Tensor, "run hidden"],
        x: Float[Tensor, "#run bag slice dim"],
        keep: Bool[Tensor, "#run bag slice"],
    ) -> tuple[Float[Tensor, "run bag dim"], Float[Tensor, "run bag slice"]]:
        """Pooled vectors and attention of every run."""
        hidden = projected(project, bias, x).tanh_()
        scores = torch.bmm(hidden, score.unsqueeze(2)).view(len(project), *x.shape[1:3])
        attention = scores.masked_fill_(~keep, -torch.inf).softmax(-1)
        ctx.save_for_backward(hidden, score, x, attention)
        return torch.matmul(attention.unsqueeze(2), x).squeeze(2), attention

    @staticmethod
    def backward(
        ctx: Any,
        grad_pooled: Float[Tensor, "run bag dim"],
        grad_attention: Float[Tensor, "run bag slice"],
    ) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Chain rule through the weighted mean, the softmax, w, tanh and V."""
        hidden, score, x, attention = ctx.saved_tensors
        through = torch.matmul(grad_pooled.unsqueeze(2), x.transpose(2, 3)).squeeze(2).add_(grad_attention)
        grad_scores = attention * (through - (attention * through).sum(-1, keepdim=True))
        flat = grad_scores.flatten(1).unsqueeze(1)
        grad_score = torch.bmm(flat, hidden).squeeze(1)
        grad_hidden = torch.addcmul(torch.ones((), dtype=hidden.dtype), hidden, hidden, value=-1)
        grad_hidden.mul_(score.unsqueeze(1)).mul_(flat.transpose(1, 2))
        tokens = x.flatten(1, 2).expand(len(score), -1, -1)
        return torch.bmm(grad_hidden.transpose(1, 2), tokens), grad_hidden.sum(1), grad_score, None, None


def projected(
    project: Float[Tensor, "run hidden dim"],
    bias: Float[Tensor, "run hidden"],
    x: Float[Tensor, "#run bag slice dim"],
) -> Float[Tensor, "run instance hidden"]:
    """`V h + b` of every slice of every bag, (run, bag x slice, hidden)."""
    tokens = x.flatten(1, 2).expand(len(project), -1, -1)
    return torch.baddbmm(bias.unsqueeze(1), tokens, project.transpose(1, 2))
