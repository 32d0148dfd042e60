"""Stacked runs equal runs trained alone; training equals a plain PyTorch model, step by step."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from aggregate.bags.bags import Bags
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.mean import MeanSpec
from aggregate.losses.registry import LossSpec
from aggregate.training.feeding.sampler import init_seed, order_stream, plain_batches
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import RunSpec, apply_head, train_stacked
from aggregate.training.steps import blocks
from aggregate.training.steps.blocks import bytes_of_run, group_runs
from cache_schema.common.errors import ConfigError, SlicecacheError

pytestmark = pytest.mark.numerics

BAGS, SLICES, DIM = 47, 5, 13
SMALL = AttentionSpec(hidden=7, embedding=(11, 6))
CONTRASTIVE = LossSpec(supcon=1.0, class_variance={"weight": 0.5, "reduction": "sum"})
NONE = np.array([], dtype=np.int64)


@pytest.fixture(scope="module")
def cohort() -> tuple[Bags, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    y = torch.arange(BAGS) % 2
    keep = torch.arange(SLICES) < torch.randint(1, SLICES + 1, (BAGS, 1), generator=generator)
    x = torch.randn(BAGS, SLICES, DIM, dtype=torch.float64, generator=generator)
    x[..., 0] += 0.8 * y.unsqueeze(1)
    weight = 0.5 + torch.rand(BAGS, dtype=torch.float64, generator=generator)
    return Bags(x * keep.unsqueeze(-1), keep, torch.zeros(BAGS, SLICES)), y, weight


def run(fold: int, n_train: int = 31, *, validation: bool = True, **changes) -> RunSpec:
    order = np.random.default_rng(fold).permutation(BAGS)
    spec = RunSpec(
        configuration="c",
        repeat=0,
        fold=fold,
        seed=0,
        head=SMALL,
        loss=LossSpec(),
        train=TrainSpec(epochs=12, batch_size=8, learning_rate=0.01, patience=3),
        train_rows=order[:n_train],
        validation_rows=order[n_train:] if validation else NONE,
    )
    return replace(spec, **changes)


def assert_same(ours, theirs, atol):
    assert (ours.epochs, ours.best_epoch) == (theirs.epochs, theirs.best_epoch)
    assert ours.spec is theirs.spec
    assert ours.state.keys() == theirs.state.keys()
    for name, value in ours.state.items():
        torch.testing.assert_close(value, theirs.state[name], rtol=0, atol=atol, msg=name)
    for name, values in ours.history.items():
        assert values == pytest.approx(theirs.history[name], abs=1e-9)


def mixed_runs() -> list[RunSpec]:
    slow = TrainSpec(epochs=9, batch_size=8, learning_rate=1e-3, weight_decay=0.05, patience=None)
    return [
        run(0),
        run(1, n_train=24),
        run(2, n_train=9, loss=CONTRASTIVE),
        run(3, validation=False),
        run(4, loss=CONTRASTIVE, train=slow),
        run(5, n_train=40, train=TrainSpec(epochs=12, batch_size=8, learning_rate=0.05, patience=1)),
        run(6, head=MeanSpec(embedding=(6,))),
        run(7, head=MeanSpec(embedding=(6,)), loss=CONTRASTIVE, n_train=20),
        run(8, head=AttentionSpec(hidden=7, embedding=(11, 6), train="embedding")),
        run(9, head=AttentionSpec(hidden=7, embedding=(11, 6), train="embedding"), n_train=22),
        run(10, train=TrainSpec(epochs=5, batch_size=16, learning_rate=0.01)),
    ]


def test_stacked_equals_alone(cohort):
    runs = mixed_runs()
    together = train_stacked(*cohort, 2, runs, torch.float64)
    for spec, ours in zip(runs, together, strict=True):
        assert ours.spec is spec
        (alone,) = train_stacked(*cohort, 2, [spec], torch.float64)
        assert_same(ours, alone, 1e-10)
    # The comparison means something only if the runs end at different epochs.
    assert len({trained.epochs for trained in together}) > 3
    assert any(trained.best_epoch < trained.epochs for trained in together)


def test_blocks_change_nothing(cohort, monkeypatch):
    runs = [run(fold, n_train=20 + fold) for fold in range(5)]
    whole = train_stacked(*cohort, 2, runs, torch.float64)
    size = bytes_of_run(SMALL.build(DIM, 2), 8, SLICES, 8)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 2 * size + 1)
    (group,) = group_runs(runs)
    assert [len(block) for block in group.blocks(size, 1)] == [2, 1, 2]
    assert [len(block) for block in group.blocks(size, 4)] == [1, 1, 2, 1]
    for ours, theirs in zip(train_stacked(*cohort, 2, runs, torch.float64), whole, strict=True):
        assert_same(ours, theirs, 1e-10)


def test_losses_that_compare_bags_count_pairs():
    head = SMALL.build(DIM, 2)
    alone, pairs = (bytes_of_run(head, 512, SLICES, 4, compared) for compared in (False, True))
    assert pairs - alone == 4 * blocks.PAIRS * 512**2


def test_float32_logits_stay_close_over_200_steps(cohort):
    bags, y, weight = cohort
    train = TrainSpec(epochs=50, batch_size=8, patience=None)
    runs = [run(fold, train=train, loss=CONTRASTIVE) for fold in range(4)]
    head = SMALL.build(DIM, 2)
    together = train_stacked(bags, y, weight, 2, runs)
    for spec, ours in zip(runs, together, strict=True):
        (alone,) = train_stacked(bags, y, weight, 2, [spec])
        logits = apply_head(head, [ours.state, alone.state], bags).logits
        torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-3)


def test_early_stop_keeps_the_best_epoch(cohort):
    bags, y, weight = cohort
    spec = run(0, train=TrainSpec(epochs=60, batch_size=8, learning_rate=0.03, patience=4))
    (trained,) = train_stacked(bags, y, weight, 2, [spec], torch.float64)
    curve = trained.history["validation_cross_entropy"]
    assert trained.epochs == len(curve) == trained.best_epoch + 4 < 60
    assert min(curve) == curve[trained.best_epoch - 1]
    logits = apply_head(SMALL.build(DIM, 2), [trained.state], bags).logits[0, spec.validation_rows]
    loss = nn.functional.cross_entropy(logits, y[spec.validation_rows])
    assert float(loss) == pytest.approx(min(curve), abs=1e-12)


def test_without_patience_or_validation_the_last_weights_stay(cohort):
    patient = TrainSpec(epochs=6, batch_size=8, learning_rate=0.05, patience=None)
    for spec in (run(0, train=patient), run(0, train=patient, validation=False)):
        (trained,) = train_stacked(*cohort, 2, [spec], torch.float64)
        assert (trained.epochs, trained.best_epoch) == (6, 6)
        assert ("validation_cross_entropy" in trained.history) == (len(spec.validation_rows) > 0)


def test_losses_share_batches_and_first_weights(cohort):
    """A grid over losses compares losses: with weight 0 nothing of the term is left."""
    train = TrainSpec(epochs=3, batch_size=8, class_balanced=True)
    first = run(0, train=train)
    second = run(0, configuration="other", train=train, loss=LossSpec(supcon=0.0, class_variance=0.0))
    third = run(0, configuration="third", train=train, loss=LossSpec(supcon=1.0))
    states = [trained.state for trained in train_stacked(*cohort, 2, [first, second, third], torch.float64)]
    for name, value in states[0].items():
        # Not bits: some processors round a run's products by its place in the stack.
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=1e-10, msg=name)
    moved = states[2]["classifier.weight"] - states[0]["classifier.weight"]
    assert float(moved.abs().max()) > 1e-4


class PlainDinoAtten3D(nn.Module):
    """The published head in ordinary PyTorch, with its bias under the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(DIM, 7), nn.Tanh(), nn.Linear(7, 1))
        self.embedding = nn.Sequential(nn.Linear(DIM, 11), nn.ReLU(), nn.Linear(11, 6), nn.ReLU())
        self.classifier = nn.Linear(6, 2)

    def forward(self, bags: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        pooled = torch.stack([(self.attention(h).softmax(0) * h).sum(0) for h in bags])
        g = self.embedding(pooled)
        return self.classifier(g), g


NAMES = {
    "attention.0.weight": "attention.project.weight",
    "attention.0.bias": "attention.project.bias",
    "attention.2.weight": "attention.score.weight",
    "embedding.0.weight": "embedding.0.weight",
    "embedding.0.bias": "embedding.0.bias",
    "embedding.2.weight": "embedding.1.weight",
    "embedding.2.bias": "embedding.1.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}


def plain_loss(logits, g, y):
    """Cross entropy + SupCon + 0.1 variance of one batch, as the paper's code composes them."""
    u = nn.functional.normalize(g, dim=1)
    s = u @ u.T / 0.07
    others = ~torch.eye(len(y), dtype=torch.bool)
    contrast = g.new_zeros(())
    for i in range(len(y)):
        positives = others[i] & (y == y[i])
        if positives.any():
            contrast = contrast - (s[i][positives] - torch.logsumexp(s[i][others[i]], 0)).mean()
    variance = g.new_zeros(())
    for label in y.unique():
        own = u[y == label]
        if len(own) > 1:
            variance = variance + own.var(0, unbiased=False).mean()
    return nn.functional.cross_entropy(logits, y) + contrast / len(y) + 0.1 * variance / len(y.unique())


@pytest.mark.parametrize("released", [False, True])
def test_twenty_steps_equal_plain_pytorch(cohort, released):
    bags, y, _ = cohort
    head_spec = AttentionSpec(
        hidden=7, embedding=(11, 6), centre=False, train="embedding" if released else "all"
    )
    head = head_spec.build(DIM, 2)
    spec = run(
        1,
        n_train=39,
        validation=False,
        head=head_spec,
        loss=LossSpec(supcon=1.0, class_variance=0.1),
        train=TrainSpec(
            start="plain", learning_rate=1e-3, epochs=4, batch_size=8, patience=None, class_balanced=False
        ),
    )
    (ours,) = train_stacked(bags, y, torch.ones(BAGS), 2, [spec], torch.float64)

    start = {name: v[0] for name, v in head.init([init_seed(0, 0, 1)], torch.float64).items()}
    model = PlainDinoAtten3D().double()
    theirs = dict(model.named_parameters())
    with torch.no_grad():
        for name, own in NAMES.items():
            theirs[name].copy_(start[own].reshape(theirs[name].shape))
    trained = model.embedding.parameters() if released else model.parameters()
    optimiser = torch.optim.Adam(trained, lr=1e-3)
    steps = 0
    for epoch in range(4):
        for rows in plain_batches(spec.train_rows, 8, order_stream(0, 0, 1, epoch)):
            picked = rows[rows >= 0]
            optimiser.zero_grad()
            loss = plain_loss(*model([bags.x[i][bags.keep[i]] for i in picked]), y[picked])
            loss.backward()
            optimiser.step()
            steps += 1
    assert steps == 20
    for name, own in NAMES.items():
        expected = theirs[name].detach().reshape(start[own].shape)
        torch.testing.assert_close(ours.state[own], expected, rtol=0, atol=1e-8)
        frozen = released and not own.startswith("embedding.")
        assert torch.equal(ours.state[own], start[own]) == frozen, own


def test_it_learns_and_reports_progress(cohort):
    bags, y, weight = cohort
    seen: list[tuple[int, int]] = []
    spec = run(0, train=TrainSpec(epochs=40, batch_size=8, learning_rate=0.01, patience=None))
    other = run(1, train=TrainSpec(epochs=30, batch_size=8, learning_rate=0.1, patience=1))
    trained = train_stacked(bags, y, weight, 2, [spec, other], progress=lambda *step: seen.append(step))
    assert seen[-1] == (70, 70)
    assert [count for count, _ in seen] == sorted({count for count, _ in seen})
    assert trained[1].epochs < 30
    logits = apply_head(SMALL.build(DIM, 2), [trained[0].state], bags).logits[0]
    accuracy = (logits.argmax(1) == y)[spec.train_rows].double().mean()
    assert accuracy > 0.9


def test_apply_head_in_parts_is_apply_head_whole(cohort):
    bags, _, _ = cohort
    head = SMALL.build(DIM, 2)
    drawn = head.init([1, 2, 3], torch.float64)
    states = [{name: value[index] for name, value in drawn.items()} for index in range(3)]
    whole = head(drawn, bags.x, bags.keep, bags.height_mm.double())
    parts = apply_head(head, states, bags, batch=10)
    for name in ("logits", "embedding", "attention"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name), rtol=0, atol=1e-12)


def test_impossible_runs_are_refused(cohort):
    bags, y, weight = cohort
    with pytest.raises(SlicecacheError, match="no bag to train on"):
        train_stacked(bags, y, weight, 2, [run(0, train_rows=NONE)])
    with pytest.raises(SlicecacheError, match="label is not one of"):
        train_stacked(bags, y - 1, weight, 2, [run(0)])
    with pytest.raises(ConfigError, match="nothing trainable"):
        train_stacked(bags, y, weight, 2, [run(0, head=MeanSpec(embedding="none"), loss=CONTRASTIVE)])
    tiny = run(0, train=TrainSpec(batch_size=3), loss=CONTRASTIVE)
    with pytest.raises(ConfigError, match="at least 4"):
        train_stacked(bags, y, weight, 2, [tiny])
    with pytest.raises(SlicecacheError, match="no kept slice"):
        train_stacked(replace(bags, keep=bags.keep & False), y, weight, 2, [run(0)])
