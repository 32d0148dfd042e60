"""What each model of a bundle says of another cohort: members, mean pooling, and the same of everybody."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aggregate.bags.bags import Bags
from aggregate.baselines.baselines import mean_pool
from aggregate.cohort.cohort import Cohort
from aggregate.common.arrays import Floats
from aggregate.evaluate.measure import Judged
from aggregate.predict.bundle import Bundle, BundleCard
from aggregate.predict.mean_pooling import mean_pooling_said, mean_said
from aggregate.predict.scoring import Said, frozen_threshold, tempered
from aggregate.statistics.evaluate import scores_of


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model says of every bag."""

    logits: Floats
    """(bag, class), classes in the cohort's order."""
    calibrated: Floats
    """Over the temperature: the softmax is the probability."""
    threshold: float

    def judged(self, cohort: Cohort) -> Judged:
        """By participant: the mean over their bags."""
        return Judged(scores_of(cohort, np.arange(len(self.logits)), self.calibrated), self.threshold)


def score_by_members(bundle: Bundle, cohort: Cohort, said: Said) -> Scored:
    """The mean over all members."""
    card, every = bundle.card, range(len(bundle.card.members))
    order = order_of(card, cohort)
    threshold = frozen_threshold(card, every) if card.positive is not None else 0.5
    calibrated = tempered(card, every, said.logits)
    return Scored(said.logits.mean(0)[:, order], calibrated[:, order], threshold)


def order_of(card: BundleCard, cohort: Cohort) -> list[int]:
    """Places of the cohort's columns among the bundle's."""
    return [card.classes.index(name) for name in cohort.kind.classes] or [0]


def score_by_mean_pooling(
    bundle: Bundle, cohort: Cohort, bags: Bags, people: pd.DataFrame | None = None
) -> Scored:
    """Mean pooling + logistic regression of every fold, the mean over them: as the members are."""
    x = [mean_pool(bags)] * len(bundle.mean_pooling)
    if bundle.harmonised is not None and people is not None:
        moves = bundle.harmonised.moves(people)
        x = [own * scale + shift for own, (scale, shift) in zip(x, moves, strict=True)]
    said = mean_said(bundle.card.kind, bundle.mean_pooling, x)
    logits = said[:, order_of(bundle.card, cohort)]
    return Scored(logits, logits, 0.5)


def score_by_constant(bundle: Bundle, cohort: Cohort) -> Scored:
    """What the training had on average, of everybody: mean pooling at the mean of its tokens."""
    middle = np.mean(
        [mean_pooling_said(bundle.card.kind, (one,), one.mean[None]) for one in bundle.mean_pooling], 0
    )
    said = np.repeat(middle, len(cohort.frame), axis=0)
    return Scored(said, said, 0.5)
