"""The baselines that stand in every table, by name."""

from typing import Literal

BaselineName = Literal["mean_pool_logistic", "confounds_only", "acquisition_only"]
BASELINES: tuple[BaselineName, ...] = ("mean_pool_logistic", "confounds_only", "acquisition_only")
