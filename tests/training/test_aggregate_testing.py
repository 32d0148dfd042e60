"""Our heads and losses keep the laws, and so do decent strangers; each wrong one fails the right law."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from aggregate.heads.custom import CustomHeadSpec
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LOSSES
from aggregate.testing.heads import check_head
from aggregate.testing.losses import check_loss
from cache_schema.common.custom import give
from cache_schema.common.errors import ConfigError
from cache_schema.common.law import LawError

pytestmark = pytest.mark.numerics

EXAMPLES = [spec for kind in HEADS for spec in kind.examples()]
RAW = [
    spec.model_copy(update={"centre": False}) for kind in HEADS for spec in kind.examples()[:1] if spec.centre
]
TERMS = [term for kind in LOSSES.values() for term in kind.examples()]


@pytest.mark.parametrize("spec", EXAMPLES + RAW, ids=lambda spec: spec.model_dump_json(exclude_defaults=True))
def test_our_heads_keep_the_laws(spec):
    check_head(spec)


@pytest.mark.parametrize("term", TERMS, ids=repr)
def test_our_losses_keep_the_laws(term):
    check_loss(term)


def test_every_kind_offers_examples():
    assert {type(spec) for spec in EXAMPLES} == set(HEADS) - {CustomHeadSpec}
    assert {type(term) for term in TERMS} == set(LOSSES.values())


class Pool(nn.Module):
    """A decent stranger; what is wrong with others differs in one line."""

    def __init__(self, dim: int, hidden: int = 5) -> None:
        super().__init__()
        self.hidden, self.score = nn.Linear(dim, hidden), nn.Linear(hidden, 1, bias=False)

    def scores(self, x: Tensor) -> Tensor:
        return self.score(torch.tanh(self.hidden(x))).squeeze(-1)

    def attention(self, x: Tensor, keep: Tensor) -> Tensor:
        return self.scores(x).masked_fill(~keep, -torch.inf).softmax(-1)

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        attention = self.attention(x, keep)
        return torch.einsum("bs,bsd->bd", attention, x), attention


class SparsePool(Pool):
    """Attention to the best slice of each bag alone."""

    def attention(self, x: Tensor, keep: Tensor) -> Tensor:
        own = super().attention(x, keep)
        return (
            own * 0 + nn.functional.one_hot(own.argmax(-1), own.shape[-1]).to(own.dtype) + own - own.detach()
        )


class SilentPool(Pool):
    """It gives no attention."""

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        return super().forward(x, keep, height_mm)[0], None


class DropoutPool(Pool):
    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        attention = self.attention(nn.functional.dropout(x, 0.4, self.training), keep)
        return torch.einsum("bs,bsd->bd", attention, x), attention


class BufferPool(Pool):
    """Random directions that are drawn and stay."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.register_buffer("directions", torch.randn(dim, 4))
        self.register_buffer("places", torch.arange(4))

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        pooled, attention = super().forward(x, keep, height_mm)
        return pooled @ self.directions[:, self.places], attention


class BranchingPool(Pool):
    """Control flow by values, which vmap refuses."""

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        if float(self.score.weight.detach().sum()) > 1e6:
            raise ValueError("weights run away")
        return super().forward(x, keep, height_mm)


class MaxPool(nn.Module):
    """No parameters, no attention."""

    def __init__(self, dim: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        return x.masked_fill(~keep.unsqueeze(-1), -torch.inf).amax(1), None


class Transformer(nn.Module):
    """A layer of PyTorch's own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(dim, 2, 2 * dim, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor, keep: Tensor, height_mm: Tensor):
        hidden = self.layer(x, src_key_padding_mask=~keep)
        share = keep.to(x.dtype) / keep.sum(-1, keepdim=True)
        return torch.einsum("bs,bsd->bd", share, hidden), share


DECENT = [Pool, SilentPool, DropoutPool, BufferPool, BranchingPool, MaxPool, Transformer]


@pytest.mark.parametrize("head", DECENT)
def test_decent_strangers_keep_the_laws(head):
    check_head(head)


def test_sparse_attention_is_allowed():
    """No gradient law is broken by zeros of the attention: the score's gradient goes through."""
    check_head(SparsePool)


def test_a_head_may_be_given_in_every_way():
    check_head(Pool, options={"hidden": 3})
    check_head(Pool(12))
    check_head({"kind": "custom", "target": give(Pool), "options": {"hidden": 3}, "embedding": [4]})
    check_head({"kind": "mean"})
    check_head(CustomHeadSpec(target=give(Pool), centre=False))


class SeesPads(Pool):
    def attention(self, x, keep):
        return self.scores(x).softmax(-1)


class SumsPads(Pool):
    def forward(self, x, keep, height_mm):
        return self.hidden(x).mean(1), None


class Unnormalised(Pool):
    def attention(self, x, keep):
        return self.scores(x).sigmoid() * keep


class Negative(Pool):
    def attention(self, x, keep):
        own = self.scores(x).masked_fill(~keep, 0)
        return own / own.sum(-1, keepdim=True)


class CountsBags(Pool):
    def forward(self, x, keep, height_mm):
        pooled, attention = super().forward(x, keep, height_mm)
        return pooled * torch.arange(1, 1 + len(x)).unsqueeze(1), attention


class MixesBags(Pool):
    def forward(self, x, keep, height_mm):
        pooled, attention = super().forward(x, keep, height_mm)
        return pooled - pooled.mean(0), attention


class MixesBagsInTraining(Pool):
    """As BatchNorm without running statistics."""

    def forward(self, x, keep, height_mm):
        pooled, attention = super().forward(x, keep, height_mm)
        return pooled - pooled.mean(0) if self.training else pooled, attention


class NeedsTwoSlices(Pool):
    def forward(self, x, keep, height_mm):
        pooled, attention = super().forward(x, keep, height_mm)
        return pooled / (keep.sum(-1, keepdim=True) - 1), attention


class LeavesWeights(Pool):
    def __init__(self, dim):
        super().__init__(dim)
        self.unused = nn.Linear(dim, dim)


class DrawsOutside(Pool):
    """Its first weights come from another generator."""

    def __init__(self, dim):
        super().__init__(dim)
        self.hidden.weight.data = torch.from_numpy(np.random.default_rng().normal(size=(5, dim))).float()


WRONG_HEADS = {
    SeesPads: "attention",
    SumsPads: "padding",
    Unnormalised: "attention",
    Negative: "attention",
    CountsBags: "bag order",
    MixesBags: "alone",
    MixesBagsInTraining: "alone",
    NeedsTwoSlices: "shapes",
    LeavesWeights: "gradient",
    DrawsOutside: "seeds",
}


@pytest.mark.parametrize(("head", "law"), WRONG_HEADS.items())
def test_a_wrong_head_fails_the_right_law(head, law):
    with pytest.raises(LawError) as caught:
        check_head(head)
    assert caught.value.law == law, caught.value


def test_what_is_no_head_is_refused():
    class Flat(Pool):
        def forward(self, x, keep, height_mm):
            return super().forward(x, keep, height_mm)[0]

    class Norm(Pool):
        def __init__(self, dim):
            super().__init__(dim)
            self.norm = nn.BatchNorm1d(dim)

        def forward(self, x, keep, height_mm):
            pooled, attention = super().forward(x, keep, height_mm)
            return self.norm(pooled), attention

    def numbers(dim):
        return [dim]

    for head, said in (
        (Flat, r"\(pooled, attention\)"),
        (Norm, r"norm\.running_mean"),
        (numbers, "must make a"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_head(head)
    with pytest.raises(ConfigError, match="unexpected keyword argument 'hiden'"):
        check_head(Pool, options={"hiden": 3})


def margin(logits, embedding, y, keep, margin=1.0):
    """A decent stranger: a hinge of the true class against the mean of all."""
    own = logits.gather(1, y.unsqueeze(1)).squeeze(1)
    return (nn.functional.softplus(margin - own + logits.mean(1)) * keep).sum() / keep.sum()


class Centre(nn.Module):
    """Another, as a class; vmap refuses its indexing."""

    def __init__(self, power=2.0):
        super().__init__()
        self.power = power

    def forward(self, logits, embedding, y, keep):
        kept = embedding[keep]
        return (kept - kept.mean(0)).abs().pow(self.power).mean()


@pytest.mark.parametrize("loss", [margin, Centre, Centre(4.0)], ids=["function", "class", "object"])
def test_decent_strange_losses_keep_the_laws(loss):
    check_loss(loss)


def test_a_losss_options_are_given():
    check_loss(margin, options={"margin": 0.2})
    check_loss(Centre, options={"power": 4})


def counts_pads(logits, embedding, y, keep):
    return nn.functional.cross_entropy(logits, y)


def by_place(logits, embedding, y, keep):
    own = nn.functional.cross_entropy(logits, y, reduction="none")[keep]
    return (own * torch.arange(len(own))).sum()


def needs_pairs(logits, embedding, y, keep):
    same = (
        (y.unsqueeze(0) == y.unsqueeze(1)) & keep & keep.unsqueeze(1) & ~torch.eye(len(y), dtype=torch.bool)
    )
    return (torch.cdist(embedding, embedding) * same).sum() / same.sum()


def divides_by_length(logits, embedding, y, keep):
    unit = embedding / embedding.square().sum(1, keepdim=True).sqrt()
    return (unit.sum(1) * keep).sum()


def detached(logits, embedding, y, keep):
    return (logits * logits.detach()).sum(1)[keep].mean()


def noisy(logits, embedding, y, keep):
    return (logits.square().mean(1) * keep).sum() * torch.rand(())


WRONG_LOSSES = {
    counts_pads: "padding",
    by_place: "bag order",
    needs_pairs: "few pairs",
    divides_by_length: "dead embedding",
    detached: "gradient",
    noisy: "scalar",
    (lambda logits, embedding, y, keep: nn.functional.cross_entropy(logits, y, reduction="none")): "scalar",
}


@pytest.mark.parametrize(("loss", "law"), WRONG_LOSSES.items())
def test_a_wrong_loss_fails_the_right_law(loss, law):
    with pytest.raises(LawError) as caught:
        check_loss(loss)
    assert caught.value.law == law, caught.value


def test_a_loss_with_weights_of_its_own_is_refused():
    class Learned(nn.Module):
        def __init__(self):
            super().__init__()
            self.centres = nn.Parameter(torch.zeros(3, 5))

        def forward(self, logits, embedding, y, keep):
            return ((embedding - self.centres[y]).square().sum(1) * keep).sum()

    with pytest.raises(ConfigError, match="weights of its own"):
        check_loss(Learned)
