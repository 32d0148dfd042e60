"""What heads learn of numbers and of ordered classes: where they start, and training from there."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from aggregate.bags.bags import Bags
from aggregate.cohort.folds import deal
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.clam_sb import ClamSbSpec
from aggregate.heads.mean import MeanSpec
from aggregate.losses.corn import corn_log_probabilities
from aggregate.losses.registry import LossSpec
from aggregate.targets.ordinal import StepGoal, step_log_probabilities
from aggregate.targets.regression import NumberGoal, Regression
from aggregate.targets.ridge import STRENGTHS, choose_penalty, solve_ridge
from aggregate.training.runs import RunSpec
from aggregate.training.spec import TrainSpec
from aggregate.training.stacked import apply_head, train_stacked
from cache_schema.common.errors import ConfigError

N, S, D = 36, 4, 9


@pytest.fixture
def bags():
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(N, S, D)) + rng.normal(size=(N, 1, D)))
    return Bags(x, torch.ones((N, S), dtype=torch.bool), torch.arange(float(S)).double().repeat(N, 1))


@pytest.fixture
def years(bags):
    rng = np.random.default_rng(1)
    return 50 + 8 * bags.x.mean(1).numpy()[:, 0] + rng.normal(0, 2, N)


def scaled(x):
    return (x - x.mean(0)) / x.std(0)


@pytest.mark.parametrize("shape", [(30, 5), (12, 40)])
@pytest.mark.parametrize("penalty", [1.0, 300.0])
def test_ridge_is_that_of_scikit_learn(shape, penalty):
    rng = np.random.default_rng(2)
    x, y, weight = rng.normal(3, 2, shape), rng.normal(60, 9, shape[0]), rng.uniform(0.3, 1, shape[0])
    model = Ridge(alpha=penalty).fit(scaled(x), y, sample_weight=weight)
    found = solve_ridge(x, y, weight, penalty)
    np.testing.assert_allclose(found.weight[0], model.coef_, atol=1e-9)
    np.testing.assert_allclose(found.bias[0], model.intercept_, atol=1e-9)
    np.testing.assert_allclose(found.outputs(x)[:, 0], model.predict(scaled(x)), atol=1e-9)


def test_the_penalty_is_chosen_by_inner_folds_that_keep_participants_together():
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(20), 2)
    x = rng.normal(size=(40, 30))
    y, weight = x[:, 0] + rng.normal(0, 2, 40), np.full(40, 0.5)
    strata = np.arange(20) % 2
    hand = deal(strata, 3, np.random.default_rng(0))[group]
    losses = np.zeros(len(STRENGTHS))
    for inner in range(3):
        inside, out = hand != inner, hand == inner
        mean, sd = x[inside].mean(0), x[inside].std(0)
        for index, penalty in enumerate(STRENGTHS):
            model = Ridge(alpha=penalty).fit((x[inside] - mean) / sd, y[inside], weight[inside])
            losses[index] += (weight[out] * (model.predict((x[out] - mean) / sd) - y[out]) ** 2).sum()
    assert choose_penalty(x, y, weight, group, strata) == STRENGTHS[losses.argmin()]


def test_columns_that_do_not_vary_and_none_at_all_have_no_part():
    y, weight = np.array([1.0, 2.0, 6.0]), np.array([1.0, 1.0, 2.0])
    nothing = solve_ridge(np.zeros((3, 0)), y, weight)
    np.testing.assert_allclose(nothing.outputs(np.zeros((2, 0))), 15 / 4)
    flat = solve_ridge(np.ones((3, 2)), y, weight)
    assert not flat.weight.any()


def train(bags, y, goal, *specs, loss=None, head=None, strata=None):
    loss = LossSpec.model_validate({"cross_entropy": 0, **(loss or {goal.usual: 1})})
    rows = np.arange(24)
    head = head or AttentionSpec(hidden=3)
    runs = [
        RunSpec("run", 0, 0, seed, head, loss, TrainSpec(**spec), rows, rows[:0])
        for seed, spec in enumerate(specs or ({},))
    ]
    weight = torch.ones(N, dtype=torch.float64)
    strata = np.arange(N) % 2 if strata is None else strata
    return train_stacked(bags, torch.as_tensor(y), weight, goal, runs, torch.float64, strata=strata)


def said(run, bags):
    head = run.spec.head.build(D, len(run.state["classifier.bias"]))
    return apply_head(head, [run.state], bags).logits[0].numpy()


def test_head_mean_is_mean_pooling_and_ridge_in_the_targets_own_unit(bags, years):
    (run,) = train(bags, years, NumberGoal(), head=MeanSpec())
    rows = np.arange(24)
    x = bags.x.mean(1).numpy()
    expected = NumberGoal().solve(x[rows], years[rows], np.ones(24), rows, rows % 2)
    np.testing.assert_allclose(said(run, bags), expected.outputs(x), atol=1e-9)
    assert run.epochs == 0


@pytest.mark.parametrize("start", ["baseline", "plain"])
def test_training_takes_no_notice_of_the_unit(bags, years, start):
    """Ages in days train as ages in years do."""
    spec = {"epochs": 7, "start": start, "batch_size": 8}
    (one,), (other,) = (train(bags, y, NumberGoal(), spec) for y in (years, 365.25 * years - 9))
    np.testing.assert_allclose(365.25 * said(one, bags) - 9, said(other, bags), rtol=1e-7)
    assert one.history["train_loss"] == pytest.approx(other.history["train_loss"], rel=1e-7)
    assert one.history["train_loss"][-1] < one.history["train_loss"][0]


def test_runs_of_numbers_stack_as_each_would_train_alone(bags, years):
    specs = ({"epochs": 6}, {"epochs": 9, "learning_rate": 0.02}, {"epochs": 4, "weight_decay": 0.1})
    together = train(bags, years, NumberGoal(), *specs)
    for index, run in enumerate(together):
        alone = RunSpec("run", 0, 0, index, *_parts(run), np.arange(24), np.arange(0))
        (found,) = train_stacked(
            bags, torch.from_numpy(years), torch.ones(N, dtype=torch.float64), NumberGoal(), [alone],
            torch.float64, strata=np.arange(N) % 2,
        )  # fmt: skip
        for name, value in run.state.items():
            torch.testing.assert_close(found.state[name], value, rtol=0, atol=1e-10)


def _parts(run):
    return run.spec.head, run.spec.loss, run.spec.train


def test_an_early_stop_watches_the_squared_error_of_standardised_numbers(bags, years):
    rows = np.arange(24)
    loss = LossSpec.model_validate({"cross_entropy": 0, "huber": 1})
    spec = TrainSpec(start="plain", epochs=5, batch_size=8)
    run = RunSpec("run", 0, 0, 0, AttentionSpec(hidden=3), loss, spec, rows[:16], rows[16:])
    weight, y = torch.ones(N, dtype=torch.float64), torch.from_numpy(years)
    (found,) = train_stacked(bags, y, weight, NumberGoal(), [run], torch.float64, strata=np.arange(N) % 2)
    mean, sd = years[:16].mean(), years[:16].std()
    best = found.history["validation_squared_error"][found.best_epoch - 1]
    error = (said(found, bags)[16:24, 0] - years[16:24]) / sd
    assert best == pytest.approx((error**2).mean() / 2)
    assert found.validation == found.history["validation_squared_error"]
    assert (mean, sd) == pytest.approx(NumberGoal().unit(years[:16], np.ones(16)))


def test_a_head_that_tells_classes_of_slices_has_no_number_to_tell(bags, years):
    with pytest.raises(ConfigError, match="clam_sb' tells the classes of single slices"):
        train(bags, years, NumberGoal(), {"epochs": 1}, head=ClamSbSpec(features=4, hidden=3))


def test_strata_of_numbers_hold_whole_participants():
    of_bag = np.array([0, 0, *range(1, 60)])
    values = np.linspace(20, 80, 61)[:, None]
    strata, names = Regression().stratify(values, of_bag)
    assert strata[0] == strata[1]
    assert np.bincount(strata[1:]).tolist() == [20, 20, 20]
    assert len(names) == 3
    assert names[0].startswith("20.5 to ")
    few, _ = Regression().stratify(values[:13], np.arange(13))
    assert not few.any()


@pytest.fixture
def grades(bags):
    score = bags.x.mean(1).numpy()[:, 0]
    return np.digitize(score, np.quantile(score, [0.3, 0.7])).astype(np.int64)


def test_the_ordinal_solution_is_a_logistic_regression_for_each_step(bags, grades):
    x = bags.x.mean(1).numpy()
    found = StepGoal(3).fit(x, grades, np.ones(N)).outputs(x)
    for k in range(2):
        rows = grades >= k
        z = (x[rows] - x[rows].mean(0)) / x[rows].std(0)
        model = LogisticRegression(C=1.0, max_iter=10_000).fit(z, grades[rows] > k)
        np.testing.assert_allclose(found[rows, k], model.decision_function(z), atol=1e-6)


def test_steps_become_the_probabilities_of_corns_chain():
    outputs = np.random.default_rng(4).normal(0, 8, (20, 3))
    expected = corn_log_probabilities(torch.from_numpy(outputs)).numpy()
    np.testing.assert_allclose(step_log_probabilities(outputs), expected, atol=1e-12)
    np.testing.assert_allclose(np.exp(step_log_probabilities(outputs)).sum(1), 1, atol=1e-12)


def test_head_mean_of_ordered_classes_is_its_linear_model(bags, grades):
    (run,) = train(bags, grades, StepGoal(3), head=MeanSpec(), strata=grades)
    rows, x = np.arange(24), bags.x.mean(1).numpy()
    expected = StepGoal(3).solve(x[rows], grades[rows], np.ones(24), rows, grades[rows])
    np.testing.assert_allclose(said(run, bags), expected.outputs(x), atol=1e-9)
    assert said(run, bags).shape == (N, 2)
