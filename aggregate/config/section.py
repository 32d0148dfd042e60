"""The `aggregate` section of a pipeline file: cohort, target, who is compared, and how it is trained."""

from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from aggregate.anomaly.spec import DetectSpec
from aggregate.bags.beside import stores_used
from aggregate.bags.token_names import StoreName, Tokens, at_home, token_names
from aggregate.bags.views import TestViewsSpec, read_views
from aggregate.baselines.names import BASELINES, BaselineName
from aggregate.cohort.people import FoldSpec
from aggregate.cohort.request import CohortRequest
from aggregate.cohort.select import SelectSpec
from aggregate.cohort.table.split import SplitSpec
from aggregate.cohort.table_keys import TableKeys
from aggregate.common.labels import read_column
from aggregate.config.ablate import AblateSpec
from aggregate.config.recipes import with_recipe, without_classes
from aggregate.config.setup import TrainingSetup
from aggregate.evaluate.spec import ExternalSpec
from aggregate.harmonise.spec import HarmoniseSpec, read_harmonise
from aggregate.heads.attention import AttentionSpec
from aggregate.heads.registry import HeadSpec
from aggregate.losses.registry import LossSpec, require_trainable
from aggregate.targets.base import LearntSpec
from aggregate.targets.registry import TargetSpec, spec_of, with_usual_loss
from aggregate.training.spec import TrainSpec, read_auto
from cache_schema.common.errors import ConfigError
from cache_schema.common.pipeline_file import Pipeline, validate
from cache_schema.common.text.mistakes import suggest
from cache_schema.format.header import Header


class AggregateKeys(TableKeys):
    """Everything that stage two is told, but the target."""

    sessions: str = "first"
    """`first`, `last`, `all`, or a column: of a table with sessions the one that marks (1, yes, true) the
    sessions to use, of a table without them the one that names the session to use, e.g. `all`."""
    select: SelectSpec = SelectSpec()
    """Which volumes of a session are used, e.g. `{contrast: T1w, run: first}`."""
    combine: Literal["concat", "mean"] | None = None
    """Several volumes in a session: `concat` puts their slices into one bag; `mean` keeps a bag each and
    averages their logits."""
    tokens: Tokens = "cls"
    """The array of the store that slices are described by: cls, patch_mean, cls_l08; or several, whose
    numbers stand side by side: `[cls, patch_mean]`, which is also written `cls+patch_mean`. Of a store
    without cls it is patch_mean, unless said, e.g. `[cls, patch_mean]`."""
    stores: dict[StoreName, str] = Field(default_factory=dict)
    """Other stores of the same volumes, name -> location; `tokens: [cls, "large:cls"]` puts the numbers of an
    array of theirs beside the main store's. Those of `extract.stores` are known without being said, e.g.
    `{large: runs/adni/large.zarr}`."""
    test_views: Annotated[TestViewsSpec, BeforeValidator(read_views)] = TestViewsSpec()
    """Stores of the same slices mirrored, as MST tests by; what a trained head says is its mean logit over
    all, e.g. `{stores: [lr, ap, both], backwards: true}`."""
    harmonise: Annotated[HarmoniseSpec | None, BeforeValidator(read_harmonise)] = None
    """Takes the site's shift and scale out of the tokens, in every fold by its training part, e.g.
    `combat`."""
    head: HeadSpec = AttentionSpec()
    """What pools a participant's slices and classifies, by its kind, e.g. `{kind: gated_attention}`, or
    plainly `gated_attention`."""
    loss: LossSpec = LossSpec()
    """The weighted sum that training minimises, e.g. `{cross_entropy: 1.0, supcon: 0.5}`."""
    recipe: str | None = None
    """Sets head, loss and train at once; keys beside it win, e.g. `dinoatten3d`."""
    train: Annotated[TrainSpec, BeforeValidator(read_auto)] = TrainSpec()
    """How runs are trained; `auto` lets inner folds choose rate and epochs, e.g. `{epochs: 100}`."""
    seeds: int = Field(default=1, ge=1)
    """Trainings per fold that differ in initialisation and batches only; averaged before statistics, e.g.
    `3`."""
    folds: FoldSpec = FoldSpec()
    """Stratified folds that keep a participant on one side, e.g. `{n: 5, repeats: 10}`."""
    split: Annotated[SplitSpec | None, BeforeValidator(read_column)] = None
    """A split that the table gives, instead of folds, e.g. `{column: split}`."""
    leave_group_out: str | None = None
    """Column whose values are left out one by one, e.g. `site`."""
    site: str | None = None
    """Column of the site; by default site, center, centre or scanner where the table has one, e.g.
    `centre`."""
    confounds: tuple[str, ...] | None = None
    """Columns of the confounds-only baseline; by default age, sex and site where the table has them, e.g.
    `[age, sex]`."""
    baselines: tuple[BaselineName, ...] = BASELINES
    """What stands beside the head in every table, e.g. `[mean_pool_logistic, confounds_only]`."""
    external: ExternalSpec | None = None
    """Another cohort that `train` holds its bundle against when it is done; `evaluate` does so later, e.g.
    `{store: other.zarr, cohort: other.csv}`."""
    shuffle_labels: int = Field(default=0, ge=0)
    """Also train on so many permutations of the labels, e.g. `20`."""
    memory_gib: float | None = Field(default=None, ge=0)
    """What tokens may take of the memory; a cohort that needs more is read by blocks while training, with the
    same results. By default half of the machine's (or the container's) memory, e.g. `8`."""
    ablate: AblateSpec | None = None
    """What `slicecache ablate` compares; `train` takes no notice of it, e.g.
    `{configurations: {mean_pool: {head.kind: mean}}}`."""
    detect: DetectSpec | None = None
    """What `slicecache detect` does; `train` takes no notice of it, e.g.
    `{reference: {column: diagnosis, value: control}, detectors: [{kind: memory_bank}]}`."""

    @model_validator(mode="before")
    @classmethod
    def _confounds_may_be_matched(cls, data: Any) -> Any:
        """Confounds that are named are what folds are dealt by too, where the design matched them."""
        folds = data.get("folds", {}) if isinstance(data, dict) else None
        if not isinstance(folds, dict) or not isinstance(data.get("confounds"), list | tuple):
            return data
        site = [data["site"]] if data.get("site") else []
        return {**data, "folds": {"matched": [*data["confounds"], *site], **folds}}

    @model_validator(mode="after")
    def _one_way_to_split(self) -> Self:
        if self.split is not None and self.leave_group_out is not None:
            raise ValueError("split and leave_group_out exclude each other")
        return self

    @model_validator(mode="after")
    def _views_as_they_are(self) -> Self:
        if self.harmonise is not None and self.test_views.several:
            raise ValueError("harmonise and test_views exclude each other: views are not harmonised yet")
        return self

    @property
    def harmonised(self) -> HarmoniseSpec | None:
        """`harmonise` with the site's column that the section names."""
        if self.harmonise is None or self.harmonise.site is not None:
            return self.harmonise
        return self.harmonise.model_copy(update={"site": self.site})

    def cohort_request(self, pipeline: Pipeline) -> CohortRequest:
        """What a cohort is made of, with the table's path made absolute."""
        return replace(
            self.table_request(pipeline.path),
            sessions=self.sessions,
            select=self.select,
            combine=self.combine,
            target=getattr(self, "target", None),
            split=self.split,
        )

    def beside(self, pipeline: Pipeline, tokens: str) -> dict[str, str]:
        """Where the other stores lie that tokens, and views of them, are read from."""
        known = self.known_stores(pipeline)
        names = (*stores_used(token_names(tokens)), *self.test_views.stores)
        return {name: known[name] for name in names if name in known}

    def known_stores(self, pipeline: Pipeline) -> dict[str, str]:
        """Where the stores lie that have a name: those of `extract.stores`, and the section's own."""
        own = {name: pipeline.location(value) for name, value in self.stores.items()}
        return (pipeline.stores() if "cache" in pipeline.data else {}) | own

    def home(self, pipeline: Pipeline) -> tuple[str, str]:
        """The store that bags are of, and the arrays in it: the pipeline's own, unless all are of another.

        Raises:
            ConfigError: If nothing says where that one lies.
        """
        name, tokens = at_home(self.tokens)
        if name is None:
            return pipeline.store(), tokens
        known = self.known_stores(pipeline)
        if name not in known:
            raise ConfigError(
                f"aggregate.tokens reads from a store {name!r}, which is not given"
                f"{suggest(name, list(known))}; extract.stores names it, or aggregate.stores: "
                f"{{{name}: LOCATION}}"
            )
        return known[name], tokens

    def for_store(self, header: Header) -> Self:
        """The section with the tokens of a store whose backbone has no CLS, where none were said."""
        names = {array.name for array in header.arrays}
        if "tokens" in self.model_fields_set or "cls" in names or "patch_mean" not in names:
            return self
        return self.model_copy(update={"tokens": "patch_mean"})

    @property
    def configuration(self) -> str:
        """The recipe's name, or the head's kind."""
        return self.recipe or self.head.name

    def setup(self, name: str | None = None) -> TrainingSetup:
        """One configuration's training, under its own name or another."""
        return TrainingSetup(
            name or self.configuration, self.tokens, self.head, self.loss, self.train, self.seeds
        )


class AggregateSection(AggregateKeys):
    """Everything that training is told."""

    target: TargetSpec
    """What is predicted: a column of classes by its name, or a mapping with its task, e.g.
    `{column: diagnosis, positive: patient}`."""


class DetectSection(AggregateKeys):
    """Everything that stage two is told; detection needs no target."""

    target: TargetSpec | None = None
    """What is predicted: a column of classes by its name, or a mapping with its task, e.g.
    `{column: diagnosis, positive: patient}`. `train`, `ablate` and `evaluate` need one, `detect` does not."""


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
    section = validate(AggregateSection, filled_section(data), "aggregate")
    head, loss = section.head, section.loss
    kind = section.target.loss_kind(loss)
    require_trainable(loss, head.name, bool(head.embedding), head.pool_learns, kind)
    return section


def filled_section(data: Any) -> Any:
    """A raw section with what its recipe and its kind of target say where it says nothing."""
    if not isinstance(data, dict):
        return data
    filled = with_usual_loss(with_recipe(data), data.get("loss"))
    of_classes = spec_of(data.get("target")).usual_loss == LearntSpec.usual_loss
    return filled if of_classes else without_classes(filled, data.get("train"))
