"""The baselines that stand in every table, by name."""

from collections.abc import Iterable
from typing import Literal

BaselineName = Literal[
    "mean_pool_logistic", "confounds_only", "scanner_only", "head_size_only", "acquisition_only"
]
MEAN_POOLING: BaselineName = "mean_pool_logistic"
"""What a file calls the linear model on mean pooled tokens, whatever the target's."""
BASELINES: tuple[BaselineName, ...] = (
    "mean_pool_logistic",
    "confounds_only",
    "scanner_only",
    "head_size_only",
)
"""Made unless the section says otherwise. `acquisition_only` is scanner and head size in one row, as it was
before they were told apart. `mean_pool_logistic` stands for the linear model of a target of any kind."""

WORDS: dict[str, str] = {
    "mean_pool_logistic": "mean pooling + logistic regression",
    "mean_pool_ridge": "mean pooling + ridge regression",
    "mean_pool_ordinal": "mean pooling + ordinal logistic regression",
    "mean_pool_cox": "mean pooling + Cox regression",
    "confounds_only": "confounds only",
    "scanner_only": "scanner only",
    "head_size_only": "head size only",
    "acquisition_only": "acquisition only",
    "constant": "the same of everybody",
}
"""What people call them."""
POOLED = "mean pooling + "


def linear_model(bar: str) -> str:
    """`ridge regression`, of a linear model on mean pooled tokens."""
    return WORDS[bar].removeprefix(POOLED)


CROPPED = "no skull in"
"""Begins the note on a baseline that may read a crop where it is named for the scanner."""


def crop_of(notes: Iterable[str]) -> str:
    """What the notes of a run say of a crop, as a sentence; empty where they say nothing of one."""
    parts = (note.partition(f": {CROPPED}") for note in notes)
    return next((f"{CROPPED.capitalize()}{rest}." for _, found, rest in parts if found), "")
