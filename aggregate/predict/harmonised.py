"""What a harmonised training keeps of its sites, frozen: predictions take a known site out as training did.

Every fold learnt location and scale of each site from its own training part, and its members read tokens that
were moved so. A volume is moved by what each member's fold learnt, by its site, and by what of age and sex is
preserved; a site that training did not see cannot be taken out, and is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor

from aggregate.cohort.table.columns import same_meaning
from aggregate.common.arrays import Floats, Ints
from aggregate.common.design import Design, TextColumn
from aggregate.common.scaling import Scaling
from aggregate.common.table_values import listed, value_name
from aggregate.predict.bundle_files import tensors_below
from aggregate.statistics.combat import Combat
from cache_schema.common.errors import SlicecacheError
from cache_schema.common.strict import Strict

HARMONISED = "harmonised"
"""Below it lie, by fold, the parts of what was learnt."""
COMBAT = ("alpha", "beta", "sigma", "gamma", "delta")


class HarmonisedCard(Strict):
    """The part in words and small numbers."""

    site: str
    """Column of the site."""
    sites: tuple[str, ...] = Field(min_length=2, max_length=10_000)
    """That training saw."""
    designs: tuple[Design, ...] = Field(min_length=1, max_length=100_000)
    """Of every fold: how what is preserved becomes numbers."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What one fold learnt of all sites."""

    design: Design
    scaling: Scaling
    combat: Combat

    def moves(self, site: Ints, frame: pd.DataFrame) -> tuple[Floats, Floats]:
        """What tokens are multiplied by and what is added (row, dim).

        Args:
            site: Of every row, an index into the sites (row,).
            frame: With what is preserved, a line per row.
        """
        return self.combat.affine(site, self.scaling(self.design.matrix(frame)))


@dataclass(frozen=True, slots=True)
class Harmonised:
    """Of a bundle."""

    card: HarmonisedCard
    folds: tuple[Learnt, ...]

    def moves(self, people: pd.DataFrame) -> list[tuple[Floats, Floats]]:
        """Of every fold, scale and shift of rows that `known` has made sure of (row, dim)."""
        place = {name: index for index, name in enumerate(self.card.sites)}
        site = np.array([place[name] for name in people[self.card.site]], dtype=np.int64)
        return [fold.moves(site, people) for fold in self.folds]

    def known(self, table: pd.DataFrame, participants: Sequence[str], where: str) -> pd.DataFrame:
        """Site and what is preserved, under the training's names.

        Args:
            table: A line per row; columns by the training's names or a synonym.
            participants: Of every row.
            where: What the table is called.

        Raises:
            SlicecacheError: If a column is not there, or somebody's site is missing or none of training's.
        """
        text = {c.name for d in self.card.designs for c in d.columns if isinstance(c, TextColumn)}
        names = dict.fromkeys(c.name for d in self.card.designs for c in d.columns)
        found = {name: _column(table, name, where) for name in [self.card.site, *names]}
        words = {name: _words(cells) for name, cells in found.items() if name in text | {self.card.site}}
        people = pd.DataFrame({**found, **words}).reset_index(drop=True)
        odd = [
            (person, site)
            for person, site in zip(participants, people[self.card.site], strict=True)
            if site not in self.card.sites
        ]
        if odd:
            sites = list(dict.fromkeys("(missing)" if pd.isna(site) else str(site) for _, site in odd))
            persons, seen = list(dict.fromkeys(person for person, _ in odd)), listed(self.card.sites)
            raise SlicecacheError(
                f"harmonise: {listed(persons, 3)} {'is' if len(persons) == 1 else 'are'} of a site that "
                f"training did not see ({listed(sites, 3)}; it saw {seen}), and what an unseen site does "
                "cannot be taken out; leave them out, or train without harmonise"
            )
        return people

    def tensors(self) -> dict[str, Tensor]:
        """As a bundle stores them."""
        parts = {
            f"{number}/{name}": value
            for number, fold in enumerate(self.folds)
            for name, value in {
                **{part: getattr(fold.combat, part) for part in COMBAT},
                "mean": fold.scaling.mean,
                "sd": fold.scaling.sd,
            }.items()
        }
        return {f"{HARMONISED}/{name}": torch.from_numpy(np.array(value)) for name, value in parts.items()}


def read_harmonised(card: HarmonisedCard, tensors: Mapping[str, Tensor], dim: int, where: str) -> Harmonised:
    """Of a bundle, which may come from anybody.

    Args:
        card: Of the bundle.
        tensors: Of the whole bundle.
        dim: Numbers of a token.
        where: The bundle.

    Raises:
        SlicecacheError: If numbers are missing, of another shape, or cannot be what they should be.
    """
    own = tensors_below(tensors, HARMONISED)
    folds = []
    for number, design in enumerate(card.designs):
        found = tensors_below(own, str(number))
        parts = {name: value.numpy() for name, value in found.items() if value.dtype == torch.float64}
        if not _sound(parts, len(card.sites), design.width, dim):
            raise SlicecacheError(
                f"the bundle {where} does not hold {HARMONISED}/{number} soundly; copy it again"
            )
        combat = Combat(**{name: parts[name] for name in COMBAT})
        folds.append(Learnt(design, Scaling(parts["mean"], parts["sd"]), combat))
    return Harmonised(card, tuple(folds))


def _sound(parts: Mapping[str, Floats], sites: int, width: int, dim: int) -> bool:
    """Whether all parts are there in their shapes, and no spread is below what it can be."""
    if set(parts) != {*COMBAT, "mean", "sd"}:
        return False
    varying = int((parts["sd"] > 0).sum())
    shapes = {
        "mean": (width,), "sd": (width,), "alpha": (dim,), "sigma": (dim,), "beta": (varying, dim),
        "gamma": (sites, dim), "delta": (sites, dim),
    }  # fmt: skip
    whole = all(parts[name].shape == shape for name, shape in shapes.items())
    return whole and bool(
        (parts["delta"] > 0).all() and (parts["sigma"] >= 0).all() and (parts["sd"] >= 0).all()
    )


def _column(table: pd.DataFrame, name: str, where: str) -> "pd.Series[float]":
    """A column by its name or a synonym."""
    there = [other for other in map(str, table.columns) if same_meaning(name, other)]
    if name not in table.columns and not there:
        raise SlicecacheError(
            f"harmonise: {where} has no column {name!r}, which the training's tokens were harmonised by"
        )
    return table[name if name in table.columns else there[0]]


def _words(cells: "pd.Series[float]") -> list[str | float]:
    """Values by their names; NaN where missing."""
    return [np.nan if gone else value_name(cell) for cell, gone in zip(cells, cells.isna(), strict=True)]
