"""Harmonised bags of a fold: what is learnt from its training part, applied to all of them.

Sites are learnt from participants' mean-pooled vectors, and every slice of a bag is moved as its mean is, by
one factor and one summand per number: mean pooling of what comes out is ComBat of what was mean-pooled.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.bags.bags import Bags
from aggregate.bags.moved import move_bags
from aggregate.baselines.confounds import site_by_label, site_names, site_of, site_warnings
from aggregate.cohort.cohort import Cohort
from aggregate.cohort.people import Fold, people_of
from aggregate.cohort.table.columns import find_column, same_meaning
from aggregate.common.arrays import Floats, Ints
from aggregate.common.design import fit_design
from aggregate.common.scaling import fit_scaling
from aggregate.common.table_values import listed, natural, nearest
from aggregate.harmonise.spec import HarmoniseSpec
from aggregate.predict.harmonised import Harmonised, HarmonisedCard, Learnt
from aggregate.statistics.combat import fit_combat
from cache_schema.common.errors import ConfigError, SlicecacheError

FEWEST = 3
"""Participants of a site in a training part: of fewer its scale cannot be learnt."""


@dataclass(frozen=True, slots=True)
class Harmoniser:
    """Knows everybody's site and what is to be preserved; learns fold by fold."""

    column: str
    """Of the site."""
    names: tuple[str, ...]
    """Of the sites."""
    site: Ints
    """Index into `names` (bag,)."""
    person: Ints
    """Index of the participant (bag,)."""
    preserved: pd.DataFrame
    """Columns whose share in the tokens stays, a row per bag."""
    pooled: Floats
    """Mean-pooled tokens (bag, dim)."""

    def learnt(self, rows: Ints) -> tuple[Learnt, Ints]:
        """What some bags say of the sites that they are of, and which these are (site,)."""
        design = fit_design(self.preserved, rows)
        columns = design.matrix(self.preserved)
        scaling = fit_scaling(columns[rows])
        covariates = scaling(columns)
        # A participant counts once per site, whatever the number of sessions.
        _, own = np.unique(self.person[rows] * len(self.names) + self.site[rows], return_inverse=True)
        share = np.eye(own.max() + 1)[own].T
        share /= share.sum(axis=1, keepdims=True)
        first = rows[np.unique(own, return_index=True)[1]]
        sites, index = np.unique(self.site[first], return_inverse=True)
        found = fit_combat(share @ self.pooled[rows], index.astype(np.int64), share @ covariates[rows])
        return Learnt(design, scaling, found), sites

    def moves(self, rows: Ints) -> tuple[Floats, Floats]:
        """What tokens are multiplied by and what is added (bag, dim), learnt from some bags."""
        found, sites = self.learnt(rows)
        # Bags of a site that was not learnt are in no part of the fold (`check`): whatever they are moved by.
        place = np.minimum(np.searchsorted(sites, self.site), len(sites) - 1)
        return found.moves(place, self.preserved)

    def kept(self, folds: Sequence[Fold]) -> Harmonised:
        """What a bundle keeps of these folds: each has learnt all sites (`check`)."""
        learnt = tuple(self.learnt(fold.inside)[0] for fold in folds)
        designs = tuple(fold.design for fold in learnt)
        return Harmonised(HarmonisedCard(site=self.column, sites=self.names, designs=designs), learnt)

    def require_known(self, other: Cohort) -> None:
        """Refuse another cohort that what is learnt here cannot be applied to.

        Raises:
            SlicecacheError: If it lacks a column, or has a site that is not here.
        """
        design = fit_design(self.preserved, np.arange(len(self.site)))
        card = HarmonisedCard(site=self.column, sites=self.names, designs=(design,))
        Harmonised(card, ()).known(other.table, other.participants.tolist(), "the external table")

    def bags(self, bags: Bags, fold: Fold) -> Bags:
        """All bags, moved by what the fold's training part says."""
        return move_bags(bags, *self.moves(fold.inside))

    def vectors(self, rows: Ints) -> Floats:
        """Mean-pooled tokens of all bags (bag, dim), moved by what some of them say."""
        scale, shift = self.moves(rows)
        return self.pooled * scale + shift

    def check(self, folds: Sequence[Fold]) -> None:
        """Refuse folds of which a training part cannot say what a site does.

        Raises:
            SlicecacheError: Naming fold and site.
        """
        for fold in folds:
            inside, used = fold.inside, np.concatenate([fold.inside, fold.test])
            for index in np.unique(self.site[used]).tolist():
                n = len(np.unique(self.person[inside[self.site[inside] == index]]))
                if n < FEWEST:
                    where = f"the training part of fold {fold.fold}"
                    raise SlicecacheError(
                        f"harmonise: {where} holds {n} participants of site {self.names[index]}, and what a "
                        f"site does cannot be learnt from fewer than {FEWEST}; leave the site out by where, "
                        "or do not harmonise (leave_group_out by site never can)"
                    )


def make_harmoniser(spec: HarmoniseSpec, cohort: Cohort, pooled: Floats) -> Harmoniser:
    """Look up sites and what is preserved.

    Args:
        spec: What is asked for.
        cohort: Gives table and labels.
        pooled: Mean-pooled tokens (bag, dim).

    Raises:
        ConfigError: If a column does not exist, or the target were preserved.
        SlicecacheError: If a bag has no site, or there is one site only.
    """
    column = site_of(cohort, spec.site)
    if column is None or same_meaning(column, cohort.target):
        raise ConfigError(
            "harmonise: the table has no column of the site beside the target; name it: "
            "harmonise: {kind: combat, site: COLUMN}"
        )
    words = site_names(cohort, column)
    if words.isna().any():
        gone = list(dict.fromkeys(cohort.participants[words.isna().to_numpy()].tolist()))
        raise SlicecacheError(f"harmonise: {listed(gone)} has no {column!r}; leave it out by where")
    names = tuple(sorted(set(words), key=natural))
    if len(names) < 2:
        raise SlicecacheError(f"harmonise: {column!r} holds one site only ({names[0]})")
    place = {name: index for index, name in enumerate(names)}
    people = people_of(cohort.participants.tolist(), np.zeros(len(cohort.frame), dtype=np.int64))
    site = np.array([place[word] for word in words], dtype=np.int64)
    preserved = cohort.table[preserved_columns(spec, cohort, column)]
    return Harmoniser(column, names, site, people.of_bag, preserved, pooled)


def harmoniser_of(
    spec: HarmoniseSpec | None, cohort: Cohort, pooled: Floats, folds: Sequence[Fold]
) -> Harmoniser | None:
    """The harmoniser, checked against the folds; None where none is asked for.

    Raises:
        ConfigError: As `make_harmoniser`.
        SlicecacheError: As `make_harmoniser` and `Harmoniser.check`, or if a site holds one class.
    """
    if spec is None:
        return None
    found = make_harmoniser(spec, cohort, pooled)
    if cohort.kind.classes and (lines := site_warnings(site_by_label(cohort, spec.site))):
        raise SlicecacheError(
            f"harmonise: {lines[0]}, and what is the site's cannot be told from what is the label's; "
            "leave the site out by where"
        )
    found.check(folds)
    return found


def preserved_columns(spec: HarmoniseSpec, cohort: Cohort, site: str) -> list[str]:
    """Columns whose share in the tokens stays.

    Raises:
        ConfigError: If one does not exist, is the site, or is the target.
    """
    known = [str(column) for column in cohort.table.columns]
    if spec.preserve is None:
        found = [find_column(known, meaning) for meaning in ("age", "sex")]
        return [name for name in found if name is not None and not same_meaning(name, cohort.target)]
    for name in spec.preserve:
        if name not in known:
            raise ConfigError(f"harmonise.preserve: the table has no column {name!r}{nearest(name, known)}")
        if same_meaning(name, cohort.target):
            raise ConfigError(
                f"harmonise.preserve: {name!r} is the target, which a test part must not be harmonised by"
            )
        if same_meaning(name, site):
            raise ConfigError(f"harmonise.preserve: {name!r} is the site, which is what is taken out")
    return list(spec.preserve)
