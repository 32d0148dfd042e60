"""Linear models of columns in a bundle: confounds, scanner and head size of every fold of the training."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor

from aggregate.common.design import Design
from aggregate.predict.bundle_files import tensors_below
from aggregate.predict.mean_pooling import mean_pooling_tensors, read_solutions
from aggregate.training.solving.logistic import Solution

COLUMNS = "columns"
"""Below it lie, by baseline and fold, the parts of its solutions."""

Designs = dict[
    Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")],
    Annotated[tuple[Design, ...], Field(min_length=1, max_length=100_000)],
]
"""By baseline, how each fold's training part has rows become numbers."""
Solutions = Mapping[str, tuple[Solution, ...]]
"""By baseline, each fold's."""


def column_tensors(models: Solutions) -> dict[str, Tensor]:
    """Tensors of a bundle: `columns/<baseline>/<fold>/<part>`."""
    return {
        f"{COLUMNS}/{name}/{part}": value
        for name, solutions in models.items()
        for part, value in mean_pooling_tensors(solutions).items()
    }


def read_columns(
    tensors: Mapping[str, Tensor], designs: Mapping[str, Sequence[Design]], n_outputs: int, where: str
) -> Solutions:
    """Solutions from a bundle, which may come from anybody.

    Args:
        tensors: Of the whole bundle.
        designs: As the card says.
        n_outputs: Of the models.
        where: The bundle.

    Raises:
        SlicecacheError: If a part is missing, or of another shape.
    """
    return {
        name: read_solutions(
            tensors_below(tensors, f"{COLUMNS}/{name}"),
            [design.width for design in own],
            n_outputs,
            where,
            f"{COLUMNS}/{name}",
        )
        for name, own in designs.items()
    }
