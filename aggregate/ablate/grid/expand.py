"""From `aggregate.ablate` to a list of configurations, each a whole section that was validated."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aggregate.ablate.grid.overrides import check_path, overlay
from aggregate.bags.token_names import at_home
from aggregate.baselines.names import MEAN_POOLING
from aggregate.config.ablate import FROM, RESERVED_NAMES, AblateSpec, Assignment
from aggregate.config.recipes import RECIPES
from aggregate.config.section import AggregateSection, parse_section
from aggregate.config.setup import TrainingSetup
from aggregate.targets.told import CONSTANT
from aggregate.training.spec import TrainSpec
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import MAIN
from cache_schema.common.text.mistakes import suggest

OTHERS = ("ablate", "detect")
"""Keys of the section that say nothing about one training."""

LONGEST_NAME = 250
"""Characters of a configuration's name, which stands in tables and figures."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """One row of the ablation's table."""

    name: str
    section: AggregateSection
    setup: TrainingSetup
    store: str
    """Name or location of its store; `main` is the pipeline's own."""
    varied: dict[str, Any]
    """What it says beside the section: dotted path -> value."""
    point: dict[str, Any] | None = None
    """Its place in the grid: path -> value; None when it is not of the grid."""


@dataclass(frozen=True, slots=True)
class Study:
    """All configurations, and what is asked of them."""

    section: AggregateSection
    """The section itself, with `ablate`."""
    spec: AblateSpec
    configurations: tuple[Configuration, ...]
    reference: str

    def __getitem__(self, name: str) -> Configuration:
        """A configuration by its name."""
        return next(c for c in self.configurations if c.name == name)

    @property
    def candidates(self) -> tuple[str, ...]:
        """What nested selection chooses from."""
        if self.spec.select is not None and self.spec.select.among is not None:
            return self.spec.select.among
        grid = tuple(c.name for c in self.configurations if c.point is not None)
        return grid or tuple(c.name for c in self.configurations)


def expand(raw: Any) -> Study:
    """Expand and validate everything before anything is trained.

    Args:
        raw: The raw `aggregate` section, with `ablate`.

    Raises:
        ConfigError: If the section has no `ablate`, or something in it is wrong; a configuration that is
            not valid is named.
    """
    section = parse_section(raw)
    if section.ablate is None:
        raise ConfigError("aggregate.ablate is missing; `slicecache ablate` needs its configurations")
    spec = section.ablate
    base = {key: value for key, value in raw.items() if key not in OTHERS}
    found: list[Configuration] = []
    for name, varied, point in _all(spec, base.get("train")):
        if any(name == other.name for other in found):
            raise ConfigError(f"aggregate.ablate: two configurations are called {name!r}")
        found.append(_configuration(base, name, varied, point))
    names = [c.name for c in found]
    reference = spec.reference or names[0]
    _known(reference, names, "reference")
    for pair in spec.primary:
        for side in pair:
            _known(side, [*names, *baseline_rows(section)], "primary")
        if pair[0] == pair[1]:
            raise ConfigError(f"aggregate.ablate.primary compares {pair[0]!r} with itself")
    for name in spec.select.among or () if spec.select else ():
        _known(name, names, "select.among")
    return Study(section, spec, tuple(found), reference)


def baseline_rows(section: AggregateSection) -> list[str]:
    """Rows that the section's baselines become for its kind of target."""
    task = section.target.task_class
    rows = [task.bar if name == MEAN_POOLING else name for name in section.baselines]
    return [*rows, CONSTANT] if task.constant_row else rows


def _known(name: str, names: Sequence[str], where: str) -> None:
    if name not in names:
        raise ConfigError(
            f"aggregate.ablate.{where}: there is no configuration {name!r}{suggest(name, names)}"
        )


def _configuration(
    base: Mapping[str, Any], name: str, varied: Assignment, point: Assignment | None
) -> Configuration:
    """Validate one configuration as a whole section."""
    where = f"configuration {name!r}"
    changes = {path: value for path, value in varied.items() if path != "store"}
    data = overlay(base, changes, where)
    try:
        section = parse_section(data)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    setup, other = section.setup(name), None
    if "store" not in varied:
        other, tokens = at_home(section.tokens)
        setup = replace(setup, tokens=tokens)
    return Configuration(name, section, setup, str(varied.get("store", other or MAIN)), varied, point)


def _all(spec: AblateSpec, train: Any) -> Iterator[tuple[str, Assignment, Assignment | None]]:
    """Name, what is varied, and place in the grid of every configuration."""
    for name in spec.configurations:
        given = spec.varied(name)
        for path in given:
            check_path(path, f"configuration {name!r}")
        again = second_start(given, train) if spec.second_start else None
        for axes in _crossed(spec, given):
            told = _off_first(spec, axes)
            yield _call(name, told, ()), {**given, **axes}, None
            if again is not None:
                yield _call(name, {"start": "baseline", **told}, ()), {**given, **again, **axes}, None
    if spec.grid is not None:
        yield from _grid(spec)


def second_start(given: Assignment, train: Any) -> Assignment | None:
    """What makes a recipe start at the baseline with the training that belongs to that, or None.

    None for a configuration that names no recipe with another start, or decides on start or embedding
    itself. What it says of its training it keeps; else it trains as the section says (`train`, raw).
    """
    recipe = RECIPES.get(str(given.get("recipe")))
    if recipe is None or recipe["train"].get("start", "baseline") == "baseline":
        return None
    if not {"train", "train.start", "head", "head.kind", "head.embedding"}.isdisjoint(given):
        return None
    fields = TrainSpec.model_fields
    own = train if isinstance(train, Mapping) else {}
    kept = isinstance(recipe["train"].get("class_balanced"), bool)
    names = [name for name in recipe["train"] if not (kept and name == "class_balanced")]
    usual = {f"train.{name}": own.get(name, fields[name].default) for name in names}
    changes = {**usual, "train.start": "baseline", "head.embedding": "none", "head.train": "all"}
    return {path: value for path, value in changes.items() if path not in given}


def _crossed(spec: AblateSpec, given: Mapping[str, Any]) -> list[Assignment]:
    """The `tokens` and `stores` axes for a configuration that does not say its own."""
    tokens = spec.tokens if "tokens" not in given else ()
    stores = tuple(spec.stores) if "store" not in given else ()
    axes = [
        [{"tokens": value} for value in tokens] or [{}],
        [{"store": value} for value in stores] or [{}],
    ]
    return [{**a, **b} for a, b in itertools.product(*axes)]


def _off_first(spec: AblateSpec, point: Mapping[str, Any]) -> Assignment:
    """What a name says of a point: the first value of the `tokens` and `stores` axes goes without saying."""
    first = {"tokens": spec.tokens[:1], "store": tuple(spec.stores)[:1]}
    return {path: value for path, value in point.items() if (value,) != first.get(path)}


def _grid(spec: AblateSpec) -> Iterator[tuple[str, Assignment, Assignment]]:
    """Points of the grid: combinations, less `exclude`, plus `include`."""
    grid = dict(spec.grid or {})
    start = grid.pop(FROM, None)
    if start is not None:
        _known(start, list(spec.configurations), "grid.from")
    below: Assignment = spec.varied(start) if start else {}
    for path in grid:
        check_path(path, "grid")
    points = [
        {**axes, **dict(zip(grid, values, strict=True))}
        for axes in _crossed(spec, {**below, **grid})
        for values in itertools.product(*grid.values())
    ]
    for index, rule in enumerate(spec.exclude):
        _check_rule(rule, points, f"exclude[{index}]")
        points = [point for point in points if not _agrees(point, rule)]
    for index, extra in enumerate(spec.include):
        for path in extra:
            check_path(path, f"include[{index}]")
        points.append(dict(extra))
    paths = list(dict.fromkeys(path for point in points for path in point))
    fixed = [path for path in paths if len(points) > 1 and len({repr(p.get(path)) for p in points}) == 1]
    for point in points:
        told = {path: value for path, value in _off_first(spec, point).items() if path not in fixed}
        yield _call(start or "grid", told, paths), {**below, **point}, point


def _agrees(point: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Whether a point has all values of a rule."""
    return all(path in point and point[path] == value for path, value in rule.items())


def _check_rule(rule: Mapping[str, Any], points: Sequence[Assignment], where: str) -> None:
    """Refuse a rule that can leave nothing out: a slip of the pen would go unseen."""
    known = sorted({path for point in points for path in point})
    for path in rule:
        if path not in known:
            raise ConfigError(
                f"aggregate.ablate.{where}: {path!r} is no axis of the grid{suggest(path, known)}"
            )
    if not any(_agrees(point, rule) for point in points):
        raise ConfigError(f"aggregate.ablate.{where}: no point of the grid has {dict(rule)}")


def _call(name: str, values: Mapping[str, Any], among: Sequence[str]) -> str:
    """`dinoatten3d supcon=0.5 class_variance=0.1`; short paths where they stay distinct."""
    found = " ".join([name, *(f"{short(path, among)}={value}" for path, value in values.items())])
    if len(found) > LONGEST_NAME:
        raise ConfigError(
            f"aggregate.ablate: {found[:40] + '...'!r} is a name of {len(found)} characters; shorter values "
            "make a shorter one"
        )
    if found in RESERVED_NAMES:
        raise ConfigError(f"aggregate.ablate: {found!r} is the name of another row of the table")
    return found


def short(path: str, among: Sequence[str]) -> str:
    """`class_variance` for `loss.class_variance.weight`, unless another path would be called so too."""
    others = [_short(other) for other in among if other != path]
    return path if _short(path) in others else _short(path)


def _short(path: str) -> str:
    _, *rest = path.split(".")
    if not rest:
        return path
    return ".".join(rest if rest[-1] not in ("weight", "kind") or len(rest) == 1 else rest[:-1])
