"""Heads start where the baseline ends, and inner folds choose how far they go from there."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import mean_pool
from aggregate.heads.registry import HEADS
from aggregate.losses.registry import LossSpec
from aggregate.train.starts import start_facts
from aggregate.training.inner import RATES, inner_runs, mean_curve
from aggregate.training.runs import Chosen, RunSpec
from aggregate.training.solving.logistic import solve_chosen
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked
from aggregate.training.steps.start import BIAS, WEIGHT, Standard

pytestmark = pytest.mark.numerics
BAGS, SLICES, DIM = 45, 7, 12
PLAIN_HEADS = [head for kind in HEADS for head in kind.examples() if not head.embedding]
AS_MEAN = [head for head in PLAIN_HEADS if head.build(DIM, 2).starts_as_mean]
NONE = np.zeros(0, dtype=np.int64)


def make_bags(seed: int = 0, shift: float = 1.0) -> tuple[Bags, torch.Tensor]:
    """Bags of unequal length whose labels show in the first number of every slice."""
    generator = np.random.default_rng(seed)
    y = np.arange(BAGS) % 2
    keep = np.arange(SLICES) < generator.integers(1, SLICES + 1, BAGS)[:, None]
    x = generator.normal(5, 1, (BAGS, SLICES, DIM)) + generator.normal(0, 1, (BAGS, 1, DIM))
    x[:, :, 0] += shift * y[:, None]
    x, height = x * keep[:, :, None], np.tile(np.arange(SLICES) * 4.0, (BAGS, 1)) * keep
    return Bags(torch.tensor(x), torch.tensor(keep), torch.tensor(height)), torch.tensor(y)


def one_run(head, rows=None, validation=NONE, seed=0, **train) -> RunSpec:
    rows = np.arange(31) if rows is None else rows
    return RunSpec("c", 0, 0, seed, head, LossSpec(), TrainSpec(**train), rows, validation)


def train(bags: Bags, y: torch.Tensor, *runs: RunSpec, **options):
    return train_stacked(bags, y, torch.ones(len(y)), 2, runs, torch.float64, **options)


def differences(run, bags: Bags) -> np.ndarray:
    """Logit of the second class less the first one's."""
    logits = apply_head(run.spec.head.build(DIM, 2), [run.state], bags).logits[0]
    return (logits[:, 1] - logits[:, 0]).numpy()


def by_the_baseline(bags: Bags, y: torch.Tensor, rows: np.ndarray) -> np.ndarray:
    x, labels = mean_pool(bags), y.numpy()
    people = np.arange(len(rows))
    found = solve_chosen(x[rows], labels[rows], np.ones(len(rows)), people, labels[rows], 2)
    p = found.log_probabilities(x)
    return p[:, 1] - p[:, 0]


@pytest.mark.parametrize("head", AS_MEAN, ids=lambda head: head.kind)
@pytest.mark.parametrize("factor", [1.0, 0.01, 100.0])
def test_a_head_that_pools_evenly_starts_as_the_baseline(head, factor):
    bags, y = make_bags()
    bags = replace(bags, x=bags.x * factor)
    (found,) = train(bags, y, replace(one_run(head), chosen=Chosen(1e-3, 0)))
    assert (found.epochs, found.best_epoch) == (0, 0)
    assert differences(found, bags) == pytest.approx(by_the_baseline(bags, y, np.arange(31)), abs=1e-6)


@pytest.mark.parametrize("head", PLAIN_HEADS, ids=lambda head: head.kind)
def test_every_head_starts_at_the_solution_on_what_it_pools(head):
    bags, y = make_bags()
    (found,) = train(bags, y, replace(one_run(head), chosen=Chosen(1e-3, 0)))
    built = head.build(DIM, 2)
    parameters = {name: value.unsqueeze(0) for name, value in found.state.items()}
    pooled, _ = built.pool(
        parameters, built.prepare(bags.x, bags.keep, bags.height_mm), bags.keep, bags.height_mm
    )
    x, labels = built.read_out(parameters, pooled).embedding[0].numpy(), y.numpy()
    rows = np.arange(31)
    expected = solve_chosen(x[rows], labels[rows], np.ones(31), rows, labels[rows], 2).log_probabilities(x)
    assert differences(found, bags) == pytest.approx(expected[:, 1] - expected[:, 0], abs=1e-3)


def test_gradients_of_the_folded_classifier_are_those_of_the_standardised_one():
    generator = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)  # noqa: E731
    standard = Standard(draw(2, 5), draw(2, 5).abs() + 0.1)
    weight, bias, vectors = draw(2, 3, 5).requires_grad_(), draw(2, 3).requires_grad_(), draw(2, 9, 5)
    z = (vectors - standard.mean[:, None]) * standard.scale[:, None]
    (torch.einsum("rbd,rcd->rbc", z, weight) + bias[:, None]).square().sum().backward()
    folded = standard.folded({WEIGHT: weight.detach(), BIAS: bias.detach()})
    leaves = {name: folded[name].requires_grad_() for name in (WEIGHT, BIAS)}
    out = torch.einsum("rbd,rcd->rbc", vectors, leaves[WEIGHT]) + leaves[BIAS][:, None]
    out.square().sum().backward()
    found = {name: leaf.grad.clone() for name, leaf in leaves.items()}
    standard.unfold_gradients(found)
    torch.testing.assert_close(found[WEIGHT], weight.grad, rtol=1e-10, atol=1e-9)
    torch.testing.assert_close(found[BIAS], bias.grad, rtol=1e-10, atol=1e-9)


def test_the_start_is_kept_where_training_finds_nothing_better():
    bags, y = make_bags(shift=0.0)
    flipped = torch.cat([y[:31], 1 - y[31:]])  # what is learnt from training bags is wrong for the others
    validation = np.arange(31, BAGS)
    found = train(
        bags,
        flipped,
        *(
            one_run(h, validation=validation, patience=20, weight_decay=0.0, learning_rate=0.05)
            for h in AS_MEAN
        ),
    )
    for run in found:
        assert run.start is not None
        if run.best_epoch:
            assert min(run.history["validation_cross_entropy"]) < run.start
        else:
            expected = by_the_baseline(bags, flipped, np.arange(31))
            assert differences(run, bags) == pytest.approx(expected, abs=1e-6)
    assert any(run.best_epoch == 0 for run in found)


def test_a_fixed_pool_with_cross_entropy_alone_needs_no_step():
    bags, y = make_bags()
    mean = next(head for head in AS_MEAN if head.kind == "mean")
    still, other = train(bags, y, one_run(mean), replace(one_run(mean), loss=LossSpec(focal=0.5)))
    assert (still.epochs, other.epochs) == (0, 400)


def test_inner_folds_choose_what_a_slow_search_chooses():
    bags, y = make_bags(1, shift=0.6)
    attention = next(head for head in AS_MEAN if head.kind == "attention")
    run = one_run(attention, auto=True, epochs=12)
    seen, steps = [], []
    (found,) = train(bags, y, run, finished=seen.append, progress=lambda *step: steps.append(step))
    best = (np.inf, None)
    for inner in inner_runs(0, run, y.numpy(), np.arange(BAGS)):
        curve = np.array(mean_curve([train(bags, y, spec)[0] for spec in inner.specs]))
        slow = np.zeros(len(curve))
        for spec in inner.specs:
            (alone,) = train(bags, y, spec)
            values = [alone.start, *alone.history["validation_cross_entropy"]]
            for epoch in range(len(curve)):
                slow[epoch] += values[min(epoch, len(values) - 1)] * len(spec.validation_rows) / 31
        assert curve == pytest.approx(slow)
        if curve.min() < best[0]:
            best = (curve.min(), Chosen(inner.specs[0].training.learning_rate, int(curve.argmin())))
        rows = np.sort(np.concatenate([spec.validation_rows for spec in inner.specs]))
        assert rows.tolist() == list(range(31))
    assert found.spec.chosen == best[1]
    assert found.epochs == found.best_epoch == found.spec.chosen.epochs
    assert [r.spec.configuration for r in seen] == ["c"]
    assert steps[-1][0] == steps[-1][1] == 12 * (1 + 3 * len(RATES))


@pytest.mark.parametrize("name", ["attention", "mst"])
def test_inner_folds_say_what_heads_say_of_bags_that_they_have_not_seen(name):
    bags, y = make_bags(2, shift=0.6)
    head = next(head for head in PLAIN_HEADS if head.kind == name)
    rows = np.random.default_rng(0).permutation(31)
    (found,) = train(bags, y, replace(one_run(head, rows, epochs=9), within=True))
    assert (found.spec.chosen is None) == (name == "attention")
    epochs = 9 if found.spec.chosen is None else found.spec.chosen.epochs
    (inner,) = inner_runs(0, replace(one_run(head, rows, epochs=9), within=True), y.numpy(), np.arange(BAGS))
    start = loss = 0.0
    for spec in inner.specs:
        out, own = spec.validation_rows, {}
        for n in (0, epochs):
            alone = replace(one_run(head, spec.train_rows), chosen=Chosen(spec.training.learning_rate, n))
            (slow,) = train(bags, y, alone)
            built = head.build(DIM, 2)
            own[n] = apply_head(built, [slow.state], bags.take(torch.from_numpy(out))).logits[0]
        place = [rows.tolist().index(row) for row in out]
        assert found.spec.inside.logits[place] == pytest.approx(own[epochs].numpy(), abs=1e-9)
        cross = torch.nn.functional.cross_entropy
        start += float(cross(own[0], y[out], reduction="sum")) / 31
        loss += float(cross(own[epochs], y[out], reduction="sum")) / 31
    assert found.spec.inside.start == pytest.approx(start)
    assert found.spec.inside.loss == pytest.approx(loss)


def test_a_participant_is_in_one_inner_fold():
    _, y = make_bags()
    group = np.arange(BAGS) // 4 * 2 + np.arange(BAGS) % 2  # two bags of one label each
    attention = next(head for head in AS_MEAN if head.kind == "attention")
    for inner in inner_runs(0, one_run(attention, np.arange(BAGS), auto=True), y.numpy(), group):
        for spec in inner.specs:
            assert not set(group[spec.train_rows]) & set(group[spec.validation_rows])


def test_too_few_participants_for_inner_folds_take_the_fixed_epochs():
    bags, y = make_bags()
    attention = next(head for head in AS_MEAN if head.kind == "attention")
    (found,) = train(bags, y, one_run(attention, np.array([0, 1, 2, 3, 5]), auto=True, epochs=4))
    assert (found.spec.chosen, found.epochs) == (None, 4)


def test_what_is_said_of_starts():
    bags, y = make_bags(shift=0.0)
    attention, mean = (next(head for head in AS_MEAN if head.kind == kind) for kind in ("attention", "mean"))
    validation = np.arange(31, BAGS)
    flipped = torch.cat([y[:31], 1 - y[31:]])
    lost = train(
        bags,
        flipped,
        *(
            one_run(attention, validation=validation, seed=s, patience=20, learning_rate=0.5)
            for s in range(3)
        ),
    )
    facts = start_facts(lost)
    assert (facts["start"], facts["runs"], facts["validated"]) == ("baseline", 3, 3)
    assert facts["past_start"] == sum(run.best_epoch > 0 for run in lost) < 2
    assert "did not get past its start" in " ".join(facts["said"])
    assert "fixed way" in start_facts(train(bags, y, one_run(mean)))["said"][0]
    layered = attention.model_copy(update={"embedding": (6,)})
    assert "does not apply" in start_facts(train(bags, y, one_run(layered, epochs=2)))["said"][0]
    auto = train(bags, y, one_run(attention, auto=True, epochs=5))
    assert sum(start_facts(auto)["chosen"].values()) == 1
