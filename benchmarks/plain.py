"""What a user would write otherwise: heads in ordinary PyTorch, trained one run after another.

Vectorised over the batch, `torch.optim.Adam` as it comes, the same first weights and batches as ours.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from aggregate.bags.bags import Bags
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.sampler import order_stream, plain_batches
from aggregate.training.runs import RunSpec


class ReadOut(nn.Module):
    """DinoAtten3D's embedding and classifier."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.embedding = nn.Sequential(nn.Linear(dim, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.classifier = nn.Linear(128, n_classes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, dim) -> logits, embedding."""
        g = self.embedding(pooled)
        return self.classifier(g), g


class Attention(nn.Module):
    """`softmax(w . tanh(V h + b))`."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.project, self.score = nn.Linear(dim, 64), nn.Linear(64, 1, bias=False)
        self.read_out = ReadOut(dim, n_classes)

    def scores(self, x: Tensor) -> Tensor:
        """(bag, slice)."""
        return self.score(torch.tanh(self.project(x))).squeeze(-1)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, slice, dim) -> logits, embedding."""
        attention = self.scores(x).masked_fill(~keep, -torch.inf).softmax(-1)
        return self.read_out((attention.unsqueeze(-1) * x).sum(1))


class GatedAttention(Attention):
    """`softmax(w . (tanh(V h + b) * sigmoid(U h + c)))`."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__(dim, n_classes)
        self.gate = nn.Linear(dim, 64)

    def scores(self, x: Tensor) -> Tensor:
        """(bag, slice)."""
        return self.score(torch.tanh(self.project(x)) * torch.sigmoid(self.gate(x))).squeeze(-1)


class Mst(nn.Module):
    """A transformer layer over a CLS token and all slices, as it is published, and a linear classifier."""

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            dim, 12, dim_feedforward=dim, dropout=0.0, activation="relu", batch_first=True, norm_first=True
        )
        self.cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.layer = nn.TransformerEncoder(layer, 1, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.classifier = nn.Linear(dim, n_classes)

    def forward(self, x: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """(bag, slice, dim) -> logits, embedding."""
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), x], 1)
        pad = torch.cat([keep.new_zeros(len(x), 1), ~keep], 1)
        g = self.layer(tokens, src_key_padding_mask=pad)[:, 0]
        return self.classifier(g), g


def loss_of(spec: LossSpec, logits: Tensor, g: Tensor, y: Tensor) -> Tensor:
    """The weighted sum, vectorised over one batch."""
    loss = nn.functional.cross_entropy(logits, y)
    if not spec.contrastive:
        return loss
    u = nn.functional.normalize(g, dim=1)
    s = (u @ u.T / 0.07).fill_diagonal_(-torch.inf)
    same = (y[:, None] == y[None]).fill_diagonal_(False)
    share = (s - s.logsumexp(1, keepdim=True)).masked_fill(~same, 0)
    loss = loss - spec.supcon.weight * (share.sum(1) / same.sum(1).clamp_min(1)).mean()
    one_hot = nn.functional.one_hot(y).T.to(u.dtype)
    counts = one_hot.sum(1)
    centre = (one_hot @ u) / counts.clamp_min(1)[:, None]
    spread = (u - centre[y]).square().mean(1)
    within = (one_hot @ spread) / counts.clamp_min(1) * (counts > 1)
    return loss + spec.class_variance.weight * within.sum() / (counts > 0).sum()


def train_plain(
    make: Callable[[int, int], nn.Module], bags: Bags, y: Tensor, runs: list[RunSpec]
) -> list[nn.Module]:
    """One run after another, every epoch of it."""
    assert isinstance(bags.x, Tensor)
    models = []
    for run in runs:
        torch.manual_seed(run.seed)
        model = make(bags.x.shape[2], 2)
        optimiser = torch.optim.Adam(model.parameters(), lr=run.training.learning_rate)
        for epoch in range(run.training.epochs):
            stream = order_stream(run.seed, run.repeat, run.fold, epoch)
            for batch in plain_batches(run.train_rows, run.training.batch_size, stream):
                rows = torch.from_numpy(batch[batch >= 0])
                optimiser.zero_grad()
                loss = loss_of(run.loss, *model(bags.x[rows], bags.keep[rows]), y[rows])
                loss.backward()
                optimiser.step()
        models.append(model)
    return models
