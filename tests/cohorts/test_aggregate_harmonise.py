"""ComBat: the libraries' numbers, one movement per bag, and what cannot be harmonised."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from aggregate.bags.bags import Bags, lazy_bags, read_bags
from aggregate.bags.moved import move_bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cohort.cohort import load_cohort
from aggregate.cohort.folds import make_folds
from aggregate.cohort.people import FoldSpec
from aggregate.cohort.request import CohortRequest
from aggregate.harmonise.harmoniser import harmoniser_of
from aggregate.harmonise.spec import HarmoniseSpec
from aggregate.statistics.combat import fit_combat
from aggregate.targets.classification import ClassificationSpec
from cache_schema.common.errors import ConfigError, SlicecacheError

KNOWN = json.loads((Path(__file__).resolve().parents[1] / "data" / "combat.json").read_text())


def known():
    covariates = np.stack([KNOWN["age"], KNOWN["sex"]], axis=1)
    return np.array(KNOWN["y"]), np.array(KNOWN["site"]), covariates, np.array(KNOWN["train"])


def test_the_numbers_are_neuroharmonizes_on_training_and_on_new_people():
    y, site, covariates, train = known()
    found = fit_combat(y[train], site[train], covariates[train])
    # The libraries stop iterating when nothing moves by more than 1e-4 of itself.
    assert found(y[train], site[train], covariates[train]) == pytest.approx(
        np.array(KNOWN["harmonize_train"]), abs=2e-5
    )
    assert found(y[~train], site[~train], covariates[~train]) == pytest.approx(
        np.array(KNOWN["harmonize_test"]), abs=2e-5
    )


def test_the_numbers_are_neurocombats():
    y, site, covariates, _ = known()
    found = fit_combat(y, site, covariates)
    assert found(y, site, covariates) == pytest.approx(np.array(KNOWN["combat_all"]), abs=2e-5)


def test_numbers_that_do_not_vary_are_left_alone():
    y, site, covariates, _ = known()
    wide = np.concatenate([y, np.full((len(y), 1), 7.0)], axis=1)
    found = fit_combat(wide, site, covariates)(wide, site, covariates)
    assert found[:, -1] == pytest.approx(7.0)
    assert np.isfinite(found).all()
    one = fit_combat(y[:, :1], site, covariates)(y[:, :1], site, covariates)  # no prior over one number
    assert [one[site == s].std() for s in range(3)] == pytest.approx(np.repeat(one.std(), 3), rel=0.5)


N = 36
COMBAT = HarmoniseSpec()


@pytest.fixture
def two_sites(make_store, scan, tmp_path):
    """A store of 36 people, some with two sessions, at two sites, with age and sex."""
    people = [f"sub-{i:02d}" for i in range(N)]
    scans = [
        scan(name, session=visit, n_slices=3 + i % 4, shift=3.0 * (i % 3 == 0))
        for i, name in enumerate(people)
        for visit in (("a", "b") if i % 5 == 0 else ("a",))
    ]
    store = make_store(scans)
    rows = [
        f"{name}\t{40 + i % 11}\t{'FM'[i % 2]}\t{'south' if i % 3 == 0 else 'north'}\t{'yn'[i // 2 % 2]}"
        for i, name in enumerate(people)
    ]
    (tmp_path / "t.tsv").write_text("\n".join(["participant_id\tage\tsex\tsite\tdx", *rows]) + "\n")

    def load():
        target = ClassificationSpec(column="dx")
        return load_cohort(CohortRequest(table=tmp_path / "t.tsv", target=target, sessions="all"), store)

    return store, load


def made(cohort, store, spec=COMBAT, folds=None):
    bags = read_bags(store, cohort.entries, "cls", bag=cohort.bag)
    folds = make_folds(cohort, FoldSpec(n=3)) if folds is None else folds
    return harmoniser_of(spec, cohort, mean_pool(bags), folds), bags, folds


def test_pooling_what_was_moved_is_combat_of_what_was_pooled(two_sites):
    store, load = two_sites
    harmoniser, bags, folds = made(load(), store)
    assert list(harmoniser.preserved) == ["age", "sex"]
    moved = harmoniser.bags(bags, folds[0])
    assert mean_pool(moved) == pytest.approx(harmoniser.vectors(folds[0].inside), abs=1e-4)
    assert not moved.x[~moved.keep].any()
    # Slices of a bag are moved by one factor and one summand per number.
    ratio = (moved.x[0, 0] - moved.x[0, 1]) / (bags.x[0, 0] - bags.x[0, 1])
    again = (moved.x[0, 1] - moved.x[0, 2]) / (bags.x[0, 1] - bags.x[0, 2])
    assert torch.allclose(ratio, again, atol=1e-3)


def test_nothing_is_learnt_from_a_test_part(two_sites):
    store, load = two_sites
    harmoniser, _, folds = made(load(), store)
    before = harmoniser.vectors(folds[1].inside)
    harmoniser.pooled[folds[1].test] += 100.0
    after = harmoniser.vectors(folds[1].inside)
    assert after[folds[1].inside] == pytest.approx(before[folds[1].inside])
    harmoniser.pooled[folds[1].inside[0]] += 100.0
    assert harmoniser.vectors(folds[1].inside)[folds[1].inside[1:]] != pytest.approx(
        before[folds[1].inside[1:]]
    )


def test_the_planted_shift_is_gone(two_sites):
    store, load = two_sites
    harmoniser, _, folds = made(load(), store)
    outside = folds[2].test
    south = harmoniser.site[outside] == harmoniser.names.index("south")
    gap = [
        x[outside][south].mean() - x[outside][~south].mean()
        for x in (harmoniser.pooled, harmoniser.vectors(folds[2].inside))
    ]
    assert gap[0] > 2.5
    assert abs(gap[1]) < 0.5


def test_tokens_in_the_store_are_moved_alike(two_sites):
    store, load = two_sites
    cohort = load()
    harmoniser, bags, folds = made(cohort, store)
    lazy = lazy_bags(store, cohort.entries, "cls", bag=cohort.bag, budget=10_000)
    ours, theirs = harmoniser.bags(bags, folds[0]), harmoniser.bags(lazy, folds[0])
    rows = np.array([5, 0, 17])
    a, b = ours.take(rows), theirs.take(rows)
    assert torch.equal(a.x, b.x[:])
    assert torch.equal(ours.x[3:9], theirs.x[3:9])


def test_moving_keeps_pads_at_zero():
    bags = Bags(
        torch.ones(2, 3, 2), torch.tensor([[True, True, False], [True, False, False]]), torch.zeros(2, 3)
    )
    found = move_bags(bags, np.array([[2.0, 3.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [5.0, 5.0]]))
    assert found.x.tolist() == [[[3, 3], [3, 3], [0, 0]], [[6, 6], [0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (HarmoniseSpec(preserve=("age", "dx")), "'dx' is the target"),
        (HarmoniseSpec(preserve=("DX",)), "no column 'DX'"),
        (HarmoniseSpec(preserve=("site",)), "is the site"),
        (HarmoniseSpec(site="centre_"), "no column 'centre_'"),
        (HarmoniseSpec(site="one"), "one site only"),
        (HarmoniseSpec(site="given"), r"site y holds \w only .* cannot be told"),
        (HarmoniseSpec(site="rare"), "participants of site far"),
        (HarmoniseSpec(site="gaps"), "has no 'gaps'"),
    ],
)
def test_what_cannot_be_harmonised_is_refused_in_one_sentence(two_sites, tmp_path, spec, said):
    store, load = two_sites
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    table["one"], table["given"] = "same", table["dx"].where(table.index > 3, "n")
    table["rare"] = ["far" if i < 3 else "near" for i in range(N)]
    table["gaps"] = [None if i == 4 else "ab"[i % 2] for i in range(N)]
    table.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    with pytest.raises((ConfigError, SlicecacheError), match=said) as caught:
        made(load(), store, spec)
    assert "\n" not in str(caught.value)


def test_a_site_that_is_left_out_cannot_be_learnt(two_sites):
    store, load = two_sites
    cohort = load()
    folds = make_folds(cohort, FoldSpec(), leave_group_out="site")
    with pytest.raises(SlicecacheError, match="holds 0 participants of site north"):
        made(cohort, store, folds=folds)
