"""The `aggregate` section of a pipeline file: cohort, target, who is compared, and how it is trained."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aggregate.anomaly.spec import DetectSpec
from aggregate.common.table_values import value_name
from aggregate.config.ablate import AblateSpec
from aggregate.config.recipes import with_recipe
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec, require_trainable
from aggregate.training.spec import TrainSpec
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, validate
from cache_schema.common.strict import Strict

BaselineName = Literal["mean_pool_logistic", "confounds_only", "acquisition_only"]
BASELINES: tuple[BaselineName, ...] = ("mean_pool_logistic", "confounds_only", "acquisition_only")

SYNONYMS = (
    ("sex", "gender"),
    ("age",),
    ("site", "center", "centre", "scanner", "siteid", "site_id"),
)
"""Column names that mean the same; the first of each group is what the documentation calls it."""


def _named(value: Any) -> str:
    """Read a label as text: 1 and 1.0 are `1`; YAML's bare yes and no are refused."""
    if isinstance(value, bool):
        raise ValueError("a bare yes, no, true or false is not a label; put it in quotes")
    return value_name(value)


def _many(value: Any) -> Any:
    """Read a single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


def _text_keys(value: Any) -> Any:
    """Read class names such as 0 and 1 as text."""
    return {_named(key): item for key, item in value.items()} if isinstance(value, dict) else value


Label = Annotated[str, BeforeValidator(_named)]
Labels = Annotated[tuple[Label, ...], BeforeValidator(_many)]


class JoinSpec(Strict):
    """How rows of the table find volumes of the store."""

    participant: str = "participant_id"
    session: str | None = None
    """Column of the session; by default `session_id` where the table has it."""
    strip_prefix: Annotated[tuple[str, ...], BeforeValidator(_many)] = ()
    """Taken off participant ids on both sides; `sub-` (and `ses-` off sessions) always is."""
    visits: Annotated[dict[str, Label], BeforeValidator(_text_keys)] = Field(default_factory=dict)
    """Session code of the table -> session of the store, e.g. `{bl: "01", m06: "02"}`."""
    order: str | None = None
    """Column that orders the sessions of a participant (age, days, an ISO date); by default they are
    in natural order of the session id, in which `ses-2` comes before `ses-10`."""


class TargetSpec(Strict):
    """What is predicted."""

    column: str
    classes: Annotated[dict[str, Labels] | None, BeforeValidator(_text_keys)] = None
    """Class name -> the values of the column that it stands for; other values are left out."""
    positive: Label | None = None
    """The positive one of two classes. By default the last of `classes` if those are written out; else
    the one that is not a word for controls (control, healthy, CN, 0, no, ...); else the last in order."""
    task: Literal["classification"] = "classification"

    @model_validator(mode="before")
    @classmethod
    def _later(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("task") in ("regression", "ordinal"):
            raise ValueError(f"{data['task']} is not there yet; write classes: {{name: [values]}} instead")
        return data

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        seen: dict[str, str] = {}
        for name, values in (self.classes or {}).items():
            for value in values:
                if seen.setdefault(value, name) != name:
                    raise ValueError(f"value {value!r} is in two classes, {seen[value]!r} and {name!r}")
        return self


class SelectSpec(Strict):
    """Which volumes of a session are used."""

    contrast: Label | None = None
    acquisition: Label | None = None
    space: Label | None = None
    description: Label | None = None
    volume_id: Label | None = None
    run: Label | None = None
    """A run's number, or `first` or `last` of those in the session."""


class FoldSpec(Strict):
    """Stratified folds that keep a participant on one side."""

    n: int = Field(default=5, ge=2)
    repeats: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    validation: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training part's participants that early stop, threshold and temperature look at."""
    minimum_per_class: int = Field(default=20, ge=2)
    """With fewer training participants in a class there is no validation part: epochs are fixed and the
    threshold is 0.5."""


class SplitSpec(Strict):
    """A split that the table gives."""

    column: str
    """Holds train, val or test (also training, valid, validation, dev, testing)."""


def _target(value: Any) -> Any:
    """Read a bare column name."""
    return {"column": value} if isinstance(value, str) else value


def _split(value: Any) -> Any:
    """Read a bare column name."""
    return {"column": value} if isinstance(value, str) else value


class AggregateKeys(Strict):
    """Everything that stage two is told, but the target."""

    cohort: Path
    """CSV or TSV with a row per participant, or per session."""
    where: str | None = None
    """Condition on the table's columns, e.g. `qc == 'pass' and age >= 55`."""
    missing: Annotated[tuple[Label, ...], BeforeValidator(_many)] = ()
    """Codes that mean missing in every column of the table, e.g. `[-4, -1]`."""
    join: JoinSpec = JoinSpec()
    sessions: str = "first"
    """`first`, `last`, `all`, or a column: of a table with sessions the one that marks (1, yes, true) the
    sessions to use, of a table without them the one that names the session to use."""
    select: SelectSpec = SelectSpec()
    combine: Literal["concat", "mean"] | None = None
    """Several volumes in a session: `concat` puts their slices into one bag; `mean` keeps a bag each and
    averages their logits."""
    tokens: str = "cls"
    """The array of the store that slices are described by: cls, patch_mean, cls_l08."""
    head: HeadSpec = AttentionSpec()
    loss: LossSpec = LossSpec()
    recipe: str | None = None
    """Sets head, loss and train at once; keys beside it win."""
    train: TrainSpec = TrainSpec()
    seeds: int = Field(default=1, ge=1)
    """Trainings per fold that differ in initialisation and batches only; averaged before statistics."""
    folds: FoldSpec = FoldSpec()
    split: Annotated[SplitSpec | None, BeforeValidator(_split)] = None
    leave_group_out: str | None = None
    """Column whose values are left out one by one, e.g. site."""
    site: str | None = None
    """Column of the site; by default site, center, centre or scanner where the table has one."""
    confounds: tuple[str, ...] | None = None
    """Columns of the confounds-only baseline; by default age, sex and site where the table has them."""
    baselines: tuple[BaselineName, ...] = BASELINES
    shuffle_labels: int = Field(default=0, ge=0)
    """Also train on so many permutations of the labels."""
    memory_gib: float | None = Field(default=None, ge=0)
    """What tokens may take of the memory; a cohort that needs more is read by blocks while training, with
    the same results. By default half of the machine's (or the container's) memory."""
    ablate: AblateSpec | None = None
    """What `slicecache ablate` compares; `train` takes no notice of it."""
    detect: DetectSpec | None = None
    """What `slicecache detect` does; `train` takes no notice of it."""

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        if self.split is not None and self.leave_group_out is not None:
            raise ValueError("split and leave_group_out exclude each other")
        return self


class AggregateSection(AggregateKeys):
    """Everything that training is told."""

    target: Annotated[TargetSpec, BeforeValidator(_target)]


class DetectSection(AggregateKeys):
    """Everything that detection is told: it needs no target."""

    target: Annotated[TargetSpec | None, BeforeValidator(_target)] = None


def read_aggregate_section(pipeline: Pipeline) -> AggregateSection:
    """Validate the section, after its recipe has filled what is not said.

    Raises:
        ConfigError: If it is absent, has an unknown key, a wrong value, or a loss that trains nothing.
    """
    if "aggregate" not in pipeline.data:
        raise ConfigError("the pipeline has no section 'aggregate'")
    return parse_section(pipeline.data["aggregate"])


def read_detect_section(pipeline: Pipeline) -> tuple[DetectSection, DetectSpec]:
    """Validate the section for `detect`, which may have no target, and its part `detect`.

    Raises:
        ConfigError: If one is absent, has an unknown key or a wrong value.
    """
    data = pipeline.data.get("aggregate")
    if data is None:
        raise ConfigError("the pipeline has no section 'aggregate'")
    filled = with_recipe(data) if isinstance(data, dict) else data
    section = validate(DetectSection, filled, "aggregate")
    if section.detect is None:
        raise ConfigError(
            "aggregate.detect is missing; it needs at least reference: {column: ..., value: ...} and "
            "detectors: [{kind: memory_bank}]"
        )
    return section, section.detect


def parse_section(data: Any) -> AggregateSection:
    """Validate a raw section.

    Raises:
        ConfigError: As `read_aggregate_section`.
    """
    filled = with_recipe(data) if isinstance(data, dict) else data
    section = validate(AggregateSection, filled, "aggregate")
    head = section.head
    require_trainable(section.loss, head.name, bool(head.embedding) or head.learned_pool)
    return section
