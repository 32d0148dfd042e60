"""Heads with a loss on single slices against written-out loops, and that loss in training."""

import numpy as np
import pytest
import torch

from aggregate.heads.clam_sb import ClamSbSpec
from aggregate.heads.dsmil import DsmilSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.inputs import BagInputs
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec
from aggregate.training.steps.block import Block

pytestmark = pytest.mark.numerics

DIM, CLASSES, BAGS, SLICES, RUNS = 11, 3, 5, 7, 3
Y = torch.tensor([0, 2, 1, 2, 0])
WEIGHT = torch.tensor([1.0, 0.5, 1.0, 2.0, 1.0], dtype=torch.float64)


@pytest.fixture
def bags() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bags with gaps between kept slices; the second has a single one."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    keep = torch.rand(BAGS, SLICES, generator=generator) < 0.6
    keep[:, 2], keep[1] = True, torch.arange(SLICES) == 2
    height = 150 * torch.rand(BAGS, SLICES, dtype=torch.float64, generator=generator)
    return x, keep, height


def made(spec):
    """A head with every trained parameter away from its start, and each run's own."""
    head = spec.build(DIM, CLASSES)
    generator = torch.Generator().manual_seed(11)
    parameters = {
        name: value + 0.3 * torch.randn(value.shape, dtype=torch.float64, generator=generator)
        if name in head.trainable
        else value
        for name, value in head.init(range(RUNS), torch.float64).items()
    }
    return head, parameters, [{name: value[run] for name, value in parameters.items()} for run in range(RUNS)]


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def smooth_svm(scores, label) -> torch.Tensor:
    """The smooth top-1 SVM loss of two classes with temperature and margin 1 (Berrada et al. 2018)."""
    margin = torch.tensor([float(c != label) for c in range(2)], dtype=torch.float64)
    return torch.logsumexp(scores + margin, 0) - scores[label]


def clam(own, h, label, k):
    """Pooled vector, attention and instance loss of one bag."""
    v = (h @ own["feature.weight"].T + own["feature.bias"]).clamp_min(0)
    value, gate = own["attention.project.weight"].chunk(2)
    c, d = own["attention.project.bias"].chunk(2)
    e = (torch.tanh(v @ value.T + c) * torch.sigmoid(v @ gate.T + d)) @ own["attention.score.weight"]
    a = e.exp() / e.exp().sum()
    order = sorted(range(len(h)), key=lambda i: float(a[i]))
    k = min(k, len(h) // 2)
    losses = []
    for evidence, chosen in ((1, order[len(h) - k :]), (0, order[:k])):
        for i in chosen:
            u = own["instance.weight"][label] @ v[i] + own["instance.bias"][label]
            losses.append(smooth_svm(torch.stack([-u / 2, u / 2]), evidence))
    return a @ v, a, sum(losses) / len(losses) if losses else torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_clam_is_the_formula(k, bags):
    x, keep, _ = bags
    head, parameters, runs = made(ClamSbSpec(features=9, hidden=4, k=k, instance_weight=0.7))
    pooled, attention = head.pool(parameters, *bags)
    losses = head.auxiliary(parameters, *bags, attention, Y)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            z, a, loss = clam(own, x[bag][keep[bag]], int(Y[bag]), k)
            near(pooled[run, bag], z)
            near(attention[run, bag][keep[bag]], a)
            near(losses[run, bag], 0.7 * loss)


def test_slices_that_are_level_are_never_evidence_and_none_at_once(bags):
    x, keep, _ = bags
    head, parameters, runs = made(ClamSbSpec(features=9, hidden=4, k=2, instance_weight=1))
    parameters["attention.score.weight"].zero_()
    losses = head.auxiliary(parameters, *bags, head.pool(parameters, *bags)[1], Y)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            near(losses[run, bag], clam(own, x[bag][keep[bag]], int(Y[bag]), 2)[2])


def test_clam_without_its_instance_loss_has_no_instance_classifier():
    head = ClamSbSpec(instance_weight=0).build(DIM, CLASSES)
    assert not head.has_auxiliary
    assert not [name for name in head.shapes if name.startswith("instance")]


def test_dsmil_is_the_formula(bags):
    x, keep, _ = bags
    head, parameters, runs = made(DsmilSpec(query=4, instance_weight=0.5))
    pooled, attention = head.pool(parameters, *bags)
    losses = head.auxiliary(parameters, *bags, attention, Y)
    for run, own in enumerate(runs):
        for bag in range(BAGS):
            h = x[bag][keep[bag]]
            scores = h @ own["instance.weight"].T + own["instance.bias"]
            q = h @ own["query.weight"].T + own["query.bias"]
            rows = []
            for c in range(CLASSES):
                m = max(range(len(h)), key=lambda i, c=c: float(scores[i, c]))
                e = torch.stack([q_i @ q[m] for q_i in q]) / 4**0.5
                rows.append(e.exp() / e.exp().sum())
            near(pooled[run, bag], torch.cat([a @ h for a in rows]))
            near(attention[run, bag][keep[bag]], sum(rows) / CLASSES)
            highest = torch.stack([max(scores[:, c]) for c in range(CLASSES)])
            near(losses[run, bag], 0.5 * (torch.logsumexp(highest, 0) - highest[Y[bag]]))


def block_of(head, parameters, bags) -> Block:
    """All runs on one order of the bags, three to a batch: the last one is not full."""
    rows, nobody = np.arange(BAGS), np.array([], dtype=np.int64)
    train = TrainSpec(epochs=1, batch_size=3)
    runs = [RunSpec("c", 0, 0, 0, head.spec, LossSpec(), train, rows, nobody) for _ in range(RUNS)]
    return Block(head, {**parameters}, BagInputs(*bags), Y, WEIGHT, runs)


@pytest.mark.parametrize(
    "spec", [ClamSbSpec(features=9, hidden=4, k=2), DsmilSpec(query=4), DsmilSpec(query=4, embedding=(5,))]
)
@pytest.mark.parametrize("rows", [[3, 0, 2], [4, 1, -1]])
def test_training_adds_the_term_to_the_objective(spec, rows, bags):
    """Loss and gradients of a step are those of cross entropy and term, both by the bags' weights."""
    head, parameters, _ = made(spec)
    block = block_of(head, {name: value.clone() for name, value in parameters.items()}, bags)
    losses = block.step([torch.tensor([rows])])
    leaves = {name: value.requires_grad_(name in head.trainable) for name, value in parameters.items()}
    real = [row for row in rows if row >= 0]
    x, keep, height = (part[real] for part in bags)
    pooled, attention = head.pool(leaves, x, keep, height)
    logits = head.read_out(leaves, pooled).logits
    entropy = -logits.log_softmax(-1)[:, torch.arange(len(real)), Y[real]]
    terms = entropy + head.auxiliary(leaves, x, keep, height, attention, Y[real])
    expected = (terms * WEIGHT[real]).sum(1) / WEIGHT[real].sum()
    near(losses, expected.detach())
    names = sorted(head.trainable)
    for name, gradient in zip(
        names, torch.autograd.grad(expected.sum(), [leaves[name] for name in names]), strict=True
    ):
        near(block.gradients[name], gradient)
        assert gradient.abs().sum() > 0, name


def test_attention_stays_in_the_graph(bags):
    """For terms of the objective that act on attention."""
    head, parameters, _ = made(DsmilSpec(query=4))
    block = block_of(head, parameters, bags)
    (pool,) = block.pooling(block.inputs, parameters, block.feeds, [torch.tensor([[0, 1]])], [])
    assert pool.attention.shape[:2] == (RUNS, 2)
    (gradient,) = torch.autograd.grad(pool.attention.square().sum(), [pool.leaves["query.weight"]])
    assert gradient.abs().sum() > 0
