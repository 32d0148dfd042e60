"""What a pipeline file may say under `aggregate.ablate`. The grammar is told in `docs/ablations.md`."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, PositiveInt, field_validator, model_validator

from aggregate.bags.token_names import Tokens
from aggregate.baselines.names import BaselineName
from cache_schema.common.custom import with_targets
from cache_schema.common.short_forms import ONE, reads
from cache_schema.common.strict import Strict, later

FROM = "from"
"""The key of `grid` that names the configuration that its points start from; the others are paths."""

LABEL = "label"
"""The key of a configuration that says what tables and figures call it; the others are paths."""

NESTED = "nested_selection"
"""What the configuration that inner folds choose is called in every table."""

RESERVED_NAMES = (*get_args(BaselineName), NESTED)
"""Names that no configuration may have: rows of the same tables."""

LONGEST_LABEL = 120

Assignment = Annotated[dict[str, Any], BeforeValidator(with_targets)]
"""Dotted path below `aggregate` -> value; in Python also a part itself."""


@reads(ONE)
def _many(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if isinstance(value, list | tuple | dict) else [value]


@reads({"type": "string"}, {"type": "array", "items": {"type": "string"}})
def _named(value: Any) -> Any:
    """Read a list of stores as names of themselves."""
    if isinstance(value, str):
        value = [value]
    return {str(item): str(item) for item in value} if isinstance(value, list | tuple) else value


@reads({"const": "nested"})
def _kind(value: Any) -> Any:
    """Read the bare word of `select: nested`."""
    return {"kind": value} if isinstance(value, str) else value


class NestedSpec(Strict):
    """Inner folds choose a configuration in every outer fold; the outer test part judges the choice."""

    kind: Literal["nested"] = "nested"
    folds: int = Field(default=3, ge=2)
    """Inner folds of every outer fold's training part (with its validation part)."""
    seeds: PositiveInt = 1
    """Trainings per inner fold."""
    among: tuple[str, ...] | None = None
    """Configurations to choose from; by default the points of the grid, or all where there is none, e.g.
    `[mean_pool, mst]`."""


class AblateSpec(Strict):
    """Which configurations are trained on the same folds, and what is claimed of them."""

    configurations: dict[str, Assignment] = Field(min_length=1)
    """Name -> what differs from the section: `{dinoatten3d: {recipe: dinoatten3d, train.epochs: 50}}`; and
    `label`, what tables and figures of a paper call it, e.g.
    `{mean_pool: {head.kind: mean}, mst: {recipe: mst}}`."""
    grid: Assignment | None = None
    """`{from: NAME, loss.supcon: [0, 0.5, 1], ...}`: every combination, laid over that configuration (over
    the section itself without `from`), e.g. `{head.hidden: [16, 64]}`."""
    include: tuple[Assignment, ...] = ()
    """Further points of the grid; a path that one does not say is as in `from`, e.g.
    `[{head.hidden: 128}]`."""
    exclude: tuple[Assignment, ...] = ()
    """Points of the grid that agree with all values of one of these are left out, e.g.
    `[{head.hidden: 16}]`."""
    tokens: Annotated[tuple[Tokens, ...], BeforeValidator(_many)] = ()
    """An axis for every configuration that does not say its own tokens, e.g. `[cls, patch_mean]`."""
    stores: Annotated[dict[str, str], BeforeValidator(_named)] = Field(default_factory=dict)
    """An axis likewise: name -> location, or a list of locations; `main` is the pipeline's own store, e.g.
    `[main, runs/other/cache.zarr]`."""
    reference: str | None = None
    """What every configuration is compared with; by default the first one, e.g. `mean_pool`."""
    primary: tuple[tuple[str, str], ...] = ()
    """Comparisons named before the results are known: the only ones that Holm's p is given for. A side may
    also be a baseline, e.g. `[[mean_pool, mean_pool_logistic]]`."""
    second_start: bool = True
    """A configuration that names a recipe with a start of its own is shown a second time, as
    `NAME start=baseline` without embedding layers, so that its loss is not judged on a head that has
    hardly been trained; one that says its own `train.start` or `head.embedding` is not."""
    repeats: PositiveInt | None = None
    """Of the folds; by default 10, or `folds.repeats` with a given split or `leave_group_out`, e.g. `10`."""
    costs: bool = later(False)
    """Parameters and seconds beside the scores of the report, whose bytes then differ from run to run."""
    select: Annotated[NestedSpec | None, BeforeValidator(_kind)] = None
    """Without it the best of a grid has no interval: it was chosen on what would judge it, e.g. `nested`."""

    @field_validator("configurations")
    @classmethod
    def _free_names(cls, value: dict[str, Assignment]) -> dict[str, Assignment]:
        taken = [name for name in value if name in RESERVED_NAMES]
        if taken:
            raise ValueError(f"{taken[0]!r} is the name of another row of the table; choose another name")
        return value

    @field_validator("configurations")
    @classmethod
    def _labels(cls, value: dict[str, Assignment]) -> dict[str, Assignment]:
        for name, given in value.items():
            told = given.get(LABEL, name)
            if not isinstance(told, str) or not told.strip() or len(told) > LONGEST_LABEL:
                raise ValueError(f"{name}.{LABEL} must be a text of at most {LONGEST_LABEL} characters")
        return value

    def varied(self, name: str) -> dict[str, Any]:
        """What a configuration differs in: all that it says but its label."""
        return {path: value for path, value in self.configurations[name].items() if path != LABEL}

    def label_of(self, called: str) -> str:
        """What tables and figures of a paper call a row (`abmil hidden=16` begins as `abmil`), or nothing."""
        starts = [name for name in self.configurations if f"{called} ".startswith(f"{name} ")]
        name = max(starts, key=len, default="")
        label = self.configurations[name].get(LABEL) if name else None
        return f"{label}{called[len(name) :]}" if label else ""

    @field_validator("grid")
    @classmethod
    def _axes(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        for path, values in (value or {}).items():
            if path == FROM:
                if not isinstance(values, str):
                    raise ValueError("grid.from is the name of a configuration")
            elif not isinstance(values, list | tuple) or not values:
                raise ValueError(f"grid.{path} must be a list of values")
            elif len({repr(item) for item in values}) < len(values):
                raise ValueError(f"grid.{path} holds a value twice")
        if value is not None and not set(value) - {FROM}:
            raise ValueError("grid needs at least one path with a list of values")
        return value

    @model_validator(mode="after")
    def _grid_first(self) -> Self:
        if self.grid is None and (self.include or self.exclude):
            raise ValueError("include and exclude change a grid, but there is no grid")
        return self
